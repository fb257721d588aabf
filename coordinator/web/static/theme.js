// Runs before the page is drawn, so that a chosen theme does not flash. Not a module for that reason.
(() => {
  const root = document.documentElement;
  const NEXT = { auto: "light", light: "dark", dark: "auto" };
  let chosen = "auto";
  try {
    const kept = localStorage.getItem("murmuration.theme");
    if (kept in NEXT) chosen = kept;
  } catch {
    // storage is forbidden: the choice holds for this page
  }
  const apply = () => {
    if (chosen === "auto") delete root.dataset.theme;
    else root.dataset.theme = chosen;
  };
  const label = (button) => {
    button.textContent = { auto: "◐ Auto", light: "○ Light", dark: "● Dark" }[chosen];
    button.setAttribute("aria-label", `Colours: ${chosen}. Change to ${NEXT[chosen]}`);
  };
  apply();
  document.addEventListener("DOMContentLoaded", () => {
    const button = document.getElementById("theme");
    label(button);
    button.addEventListener("click", () => {
      chosen = NEXT[chosen];
      try {
        localStorage.setItem("murmuration.theme", chosen);
      } catch {
        // as above
      }
      apply();
      label(button);
      document.dispatchEvent(new Event("themechange"));
    });
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () =>
      document.dispatchEvent(new Event("themechange")),
    );
  });
})();
