// The table of participants: DataTables pages, sorts and searches on the server; we fill the cells.

import { ask, latest, peerPath, RUN_ID } from "./api.js";
import { watch } from "./clock.js";
import { at, element, nameOf, setAttribute } from "./dom.js";
import { count, percent, short } from "./figures.js";
import { onMine, ownPeers, toggleMine } from "./me.js";
import { COLUMNS, fillRow, inWords } from "./people.js";
import { markFigures } from "./provenance.js";

const NARROW = matchMedia("(max-width: 60rem)").matches;
const PAGE_ROWS = NARROW ? 10 : 25;
const LENGTHS = [PAGE_ROWS, 100, 1000];
const TYPING_MS = 250;
const NEAR = 400; // pixels beyond the screen
const WHO = [["All", null], ["Live", true], ["Gone", false]];
const SORTS = [
  ["tokens", "Most tokens"], ["tokens_per_second", "Fastest"], ["rounds", "Most rounds"],
  ["rounds_missed", "Most missed"], ["name", "Name"], ["seen_seconds_ago", "Last seen"],
];

/** Start it; it loads its library and its rows when it comes near the screen. */
export function startParticipants(path) {
  const table = new Table(path);
  const near = watch(at("participants"), () => table.refresh(), "600px");
  const own = new Own(path);
  return {
    refresh: () => Promise.all([near.near && table.refresh(), own.refresh()]),
    pulse: () => Promise.all([near.near && table.refresh(), own.refresh()]),
    stale: () => {},
  };
}

class Table {
  #path;
  #table = null;
  #loading = null;
  #live = null;
  #shown = { total: -1, rows: [] };
  #fetched = null; // an answer that the next draw takes instead of asking again
  #fetch;
  #filled = new WeakMap(); // from a row to what it shows

  constructor(path) {
    this.#path = `${path}/participants`;
    this.#fetch = latest((query) => ask(this.#path, query));
    const who = at("who");
    for (const [text, live] of WHO)
      who.append(element("button", {
        class: "button", type: "button", text, "aria-pressed": String(live === this.#live),
        on: { click: (event) => this.#show(live, event.target) },
      }));
    this.#listen();
    at("sort").append(...SORTS.map(([value, text]) => element("option", { value, text })));
  }

  /** Newer figures in the rows that are shown. Rows are made anew only if there are others. */
  async refresh() {
    if (!this.#table) {
      this.#loading ??= this.#load();
      return;
    }
    try {
      const page = await this.#fetch(this.#query());
      if (page) this.#patch(page);
    } catch {
      // the stream tells of a coordinator that is away; what is shown stays, and greys out
    }
  }

  async #load() {
    const { default: DataTable } = await import(document.querySelector("meta[name=tables]").content);
    this.#table = new DataTable(at("table"), {
      serverSide: true,
      ajax: (request, done) => this.#answer(request, done),
      columns: COLUMNS.map((column) => ({
        name: column.name,
        title: column.title,
        data: null,
        defaultContent: "",
        orderable: Boolean(column.sort),
        orderSequence: column.number || column.most ? ["desc", "asc"] : ["asc", "desc"],
        className: column.number ? `number ${column.name}` : column.name,
        type: "html", // ours are laid out by class, not by guessing from the content
        createdCell: (cell) => column.make(cell),
      })),
      createdRow: (row, peer) => {
        this.#filled.set(row, peer);
        fillRow(row, peer);
      },
      order: [[COLUMNS.findIndex((column) => column.name === "tokens"), "desc"]],
      search: { search: searched() }, // typed before the table was there
      pageLength: PAGE_ROWS,
      lengthMenu: LENGTHS,
      autoWidth: false,
      layout: { topStart: null, topEnd: null, bottomStart: ["info", "pageLength"], bottomEnd: "paging" },
      language: {
        info: "_START_ to _END_ of _TOTAL_", infoEmpty: "", infoFiltered: "", lengthMenu: "_MENU_ a page",
        zeroRecords: "No participant matches. Search for a part of a name, or the end of a peer id.",
        emptyTable: "Nobody has taken part yet.", loadingRecords: "Asking the coordinator…",
      },
    });
    at("table").querySelectorAll("thead th").forEach((head, index) => {
      const figure = COLUMNS[index].figure;
      if (figure) (head.querySelector(".dt-column-title") ?? head).dataset.figure = figure;
    });
    markFigures(at("table"));
  }

  #listen() {
    let typing = null;
    at("search").addEventListener("input", () => {
      clearTimeout(typing);
      typing = setTimeout(() => this.#table?.search(searched()).draw(), TYPING_MS);
    });
    at("sort").addEventListener("change", () => {
      const column = COLUMNS.findIndex((it) => it.sort === at("sort").value);
      this.#table?.order([column, COLUMNS[column].number || COLUMNS[column].most ? "desc" : "asc"]).draw();
    });
    onMine(() => this.#fill(true));
    let scrolled = false;
    document.addEventListener("scroll", () => {
      if (scrolled) return;
      scrolled = true;
      requestAnimationFrame(() => {
        scrolled = false;
        this.#fill();
      });
    }, { passive: true });
  }

  #show(live, button) {
    this.#live = live;
    for (const it of at("who").children) setAttribute(it, "aria-pressed", String(it === button));
    this.#table?.ajax.reload();
  }

  #query() {
    const [index, direction] = this.#table.order()[0];
    const info = this.#table.page.info();
    return {
      search: this.#table.search() || undefined,
      sort: COLUMNS[index].sort,
      descending: direction === "desc",
      live: this.#live,
      offset: info.start,
      limit: info.length,
    };
  }

  async #answer(request, done) {
    let page = this.#fetched;
    this.#fetched = null;
    try {
      page ??= await this.#fetch({
        search: request.search.value.slice(0, 64) || undefined,
        sort: COLUMNS[request.order[0]?.column ?? 2].sort,
        descending: (request.order[0]?.dir ?? "desc") === "desc",
        live: this.#live,
        offset: request.start,
        limit: request.length,
      });
    } catch {
      page = this.#shown; // as in `refresh`
    }
    if (!page) return; // a newer question is under way
    this.#shown = page;
    done({ draw: request.draw, recordsTotal: page.total || Number(Boolean(request.search.value) || this.#live !== null), recordsFiltered: page.total, data: page.rows });
  }

  #patch(page) {
    const same = page.total === this.#shown.total && page.rows.length === this.#shown.rows.length;
    if (!same || !page.rows.length) {
      this.#fetched = page;
      this.#table.ajax.reload(null, false);
      return;
    }
    this.#shown = page;
    this.#fill();
  }

  /** Newer figures for the rows on the screen; the others get theirs when they come there. */
  #fill(again = false) {
    const rows = at("table").tBodies[0]?.rows ?? [];
    const { rows: peers } = this.#shown;
    if (rows.length !== peers.length) return;
    const [first, last] = onScreen(rows);
    for (let i = first; i < last; i++) {
      if (this.#filled.get(rows[i]) === peers[i] && !again) continue;
      this.#filled.set(rows[i], peers[i]);
      fillRow(rows[i], peers[i]);
    }
  }
}

const searched = () => at("search").value.trim();

/** From which row to before which one they are on the screen, or nearly. */
function onScreen(rows) {
  const bound = (beyond) => {
    let [low, high] = [0, rows.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (beyond(rows[middle].getBoundingClientRect())) high = middle;
      else low = middle + 1;
    }
    return low;
  };
  return [bound((box) => box.bottom > -NEAR), bound((box) => box.top > innerHeight + NEAR)];
}

/** The reader's own machines, above the table. */
class Own {
  #path;

  constructor(path) {
    this.#path = path;
    onMine(() => this.refresh());
  }

  async refresh() {
    const box = at("own");
    const ids = ownPeers();
    if (!ids.length) {
      box.hidden = true;
      return;
    }
    const found = await Promise.all(
      ids.map((id) => ask(`${this.#path}/participants/${encodeURIComponent(id)}`).catch(() => null)),
    );
    const peers = found.filter(Boolean);
    if (!peers.length) return; // none of this run, or nobody answers: what is shown stays
    box.replaceChildren(
      element("h3", { text: peers.length === 1 ? "Your machine" : "Your machines" }),
      ...peers.map((peer) => card(peer)),
    );
    box.hidden = false;
    markFigures(box);
  }
}

function card(peer) {
  const figure = (name, text, label) =>
    element("p", {}, element("strong", { text }), element("span", { class: "muted", "data-figure": name, text: ` ${label}` }));
  return element(
    "article",
    { "aria-label": nameOf(peer) },
    element("div", { class: "who" }, element("a", { class: "name", href: peerPath(RUN_ID, peer.peer_id) }, element("bdi", { text: nameOf(peer) })),
      element("p", { class: "muted small", text: inWords(peer) })),
    figure("tokens", short(peer.tokens), "tokens"),
    figure("share", percent(peer.share), "of all"),
    figure("rounds", count(peer.rounds), peer.rounds === 1 ? "round" : "rounds"),
    figure("rounds_missed", count(peer.rounds_missed), "missed"),
    element("button", { class: "button plain", type: "button", text: "Not mine", on: { click: () => toggleMine(peer.peer_id) } }),
  );
}
