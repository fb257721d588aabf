"""From what was found to a verdict: would this machine help, and what to change. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict

from peer.averaging.links import EXCHANGE_SHARE
from peer.doctor.findings import ATTENTION, BAD, OK, UNCHECKED, Check, Findings, Trial, Verdict
from peer.doctor.traffic import (
    CHECKPOINTS,
    Traffic,
    checkpoint_bytes,
    memory_wanted,
    text_bytes,
    traffic_of,
)
from peer.limits.units import bytes_text, rate_text, seconds_text, share_text
from peer.swarm.reach import DIRECT
from swarmpb.spec import RunSpec

CLOCK_TOLERANCE = 3.0
"""Seconds; beyond it nobody takes this machine's records."""
CLOCK_ATTENTION = 1.0
TOO_SLOW = 0.01
"""Of the average peer's speed: less changes nothing, and costs the others a member's traffic."""
ROOM = 1.25
"""Free memory and disk should be so many times what is wanted."""
DAYS_OF_MONTH = 30


def verdict_of(found: Findings) -> Verdict:
    """What it all comes to."""
    traffic = _traffic(found)
    checks = tuple(_checks(found, traffic))
    bad = [it for it in checks if it.state == BAD]
    figures = {} if traffic is None else {k: round(v) for k, v in asdict(traffic).items()}
    if found.trial is not None:
        figures |= {
            "tokens_per_second": round(found.trial.tokens_per_second, 1),
            "parameters": found.trial.parameters,
            "memory_bytes": memory_wanted(found.trial.parameters, found.trial.trainer_bytes),
        }
    if bad:
        why = "; ".join(f"{it.name}: {it.words}" for it in bad)
        return Verdict(False, f"this machine would not help: {why}", checks, figures)
    return Verdict(True, _praise(found), checks, figures)


def _praise(found: Findings) -> str:
    if found.spec is None:
        return "nothing speaks against this machine; name a run to see what it would do in it"
    if found.trial is None:
        return "nothing found speaks against this machine; its speed was not measured"
    share = _share(found, found.trial)
    if share is None:
        return "this machine would help"
    return f"this machine would help: {share_text(share)} of the run's speed would be its own"


def _checks(found: Findings, traffic: Traffic | None) -> Iterator[Check]:
    yield _processor(found)
    yield _accelerator(found)
    yield _memory(found)
    yield _disk(found)
    if found.spec is None and not found.run_trouble:
        return
    yield _run(found)
    yield _clock(found)
    yield _reach(found)
    if found.spec is not None:
        yield _speed_check(found, found.spec)
        yield _data(found, traffic)
        yield _link(found, found.spec, traffic)


# ---- the machine -----------------------------------------------------------------------


def _processor(found: Findings) -> Check:
    threads, cores = found.limits.threads, found.machine.cores
    words = f"{found.machine.processor}: {threads} of {cores} processors would train"
    if threads > cores:
        return Check("processor", ATTENTION, words, f"set limits.threads to {cores} or less")
    return Check("processor", OK, words)


def _accelerator(found: Findings) -> Check:
    if found.trial is None:
        return Check("accelerator", UNCHECKED, "a trainer tells, and none was run")
    if found.trial.accelerator:
        return Check("accelerator", OK, found.trial.accelerator)
    return Check("accelerator", OK, "none is used: the processor trains")


def _memory(found: Findings) -> Check:
    free, limit = found.machine.memory_free, found.limits.memory
    if found.too_large:
        return Check("memory", BAD, found.trial_trouble, "close other programs, or join a run with "
                     "a smaller model")  # fmt: skip
    if found.trial is None:
        return Check("memory", OK, f"{bytes_text(free)} free")
    wanted = memory_wanted(found.trial.parameters, found.trial.trainer_bytes)
    words = f"about {bytes_text(wanted)} of {bytes_text(free)} free would be taken"
    if limit is not None and wanted > limit:
        return Check("memory", ATTENTION, f"{words}; limits.memory is {bytes_text(limit)}",
                     f"raise limits.memory to {bytes_text(ROOM * wanted)}")  # fmt: skip
    if wanted > free:
        return Check("memory", BAD, words, "close other programs, or join a run with a smaller "
                     "model")  # fmt: skip
    if wanted * ROOM > free:
        return Check("memory", ATTENTION, words, "close other programs while it trains")
    return Check("memory", OK, words)


def _disk(found: Findings) -> Check:
    machine, limit = found.machine, found.limits.disk
    free = f"{bytes_text(machine.disk_free)} free at {machine.state_dir}"
    if found.spec is None or found.trial is None:
        return Check("disk", OK, free)
    needed = max(0, text_bytes(found.spec) - found.text_here)
    one = checkpoint_bytes(found.trial.parameters)
    wanted = needed + CHECKPOINTS * one
    usable = min(machine.disk_free - found.limits.disk_free, limit or math.inf)
    words = f"up to {bytes_text(wanted)} would be taken, {free}"
    bound = f"{words}; limits.disk_free leaves {bytes_text(found.limits.disk_free)}"
    advice = "free some space, name another disk with state_dir, or lower limits.disk_free"
    if limit is not None and limit <= usable:
        bound = f"{words}; limits.disk is {bytes_text(limit)}"
        advice = f"set limits.disk to {bytes_text(wanted)} or more"
    if needed > usable:
        return Check("disk", BAD, f"{bound}: the run's text does not fit", advice)
    fit = min(CHECKPOINTS, int((usable - needed) // one))
    if fit < CHECKPOINTS:
        lost = "no checkpoint fits" if not fit else f"{fit} of {CHECKPOINTS} checkpoints fit"
        return Check("disk", ATTENTION, f"{bound}: {lost}", advice)
    return Check("disk", OK, words)


# ---- the run and the way to it ---------------------------------------------------------


def _run(found: Findings) -> Check:
    if found.spec is None:
        return Check("run", BAD, found.run_trouble)
    name = f"{found.spec.run_id}, {found.source}"
    if found.run_trouble:
        return Check("run", BAD, f"{name}: {found.run_trouble}")
    if found.needs_invitation:
        return Check("run", BAD, f"{name}: it is by invitation", "ask its owner for a link "
                     "(`coordinator invite create`) and name that")  # fmt: skip
    if found.runs_here:
        return Check("run", ATTENTION, f"{name}: a peer of it runs on this machine now",
                     "the speed below is beside it; `peer pause` it, and ask again")  # fmt: skip
    if found.standing:
        return Check("run", ATTENTION, f"{name}: {found.standing}")
    if found.swarm is None:
        return Check("run", ATTENTION, f"{name}: its coordinator does not answer")
    peers = f"{found.swarm.peers} peer{'' if found.swarm.peers == 1 else 's'}"
    done = found.swarm.tokens / found.spec.stop.tokens
    return Check("run", OK, f"{name}: {peers}, {share_text(done) if done else '0%'} done")


def _clock(found: Findings) -> Check:
    if found.clock_ahead is None:
        return Check("clock", UNCHECKED, "no coordinator to compare it with")
    off = abs(found.clock_ahead)
    if off < 0.1:
        return Check("clock", OK, "the same as the coordinator's")
    words = f"{off:.1f} s {'ahead of' if found.clock_ahead > 0 else 'behind'} the coordinator's"
    if off <= CLOCK_ATTENTION:
        return Check("clock", OK, words)
    state = BAD if off > CLOCK_TOLERANCE else ATTENTION
    return Check("clock", state, words, "set it, for example with `timedatectl set-ntp true`")


def _reach(found: Findings) -> Check:
    reach = found.reach
    if found.reach_trouble:  # a peer would end with it
        return Check("reach", BAD, found.reach_trouble)
    if not reach.kind:
        return Check("reach", UNCHECKED, reach.reason)
    words = reach.describe()
    if reach.kind == DIRECT:
        advice = "" if found.p2p_port else "set p2p_port, so that the port stays the same"
        return Check("reach", OK, words, advice if "internet" in reach.reason else "")
    consequence = "it would train, and own no part of a round"
    port = f"TCP port {found.p2p_port}" if found.p2p_port else "that TCP port"
    advice = f"{'' if found.p2p_port else 'set p2p_port, and '}forward {port} to this machine"
    return Check("reach", ATTENTION, f"{words}; {consequence}", advice)


# ---- speed and data --------------------------------------------------------------------


def _share(found: Findings, trial: Trial) -> float | None:
    """Of the run's speed with this machine; None while nothing is known of the others'."""
    others = found.swarm.tokens_per_second if found.swarm else 0.0
    own = trial.tokens_per_second
    return own / (own + others) if own > 0 and others > 0 else None


def _slowed(found: Findings, trial: Trial) -> list[str]:
    """The limits that the trainer kept to, with their values."""
    limits = found.limits
    shares = {"accelerator": limits.accelerator if trial.accelerator else None,
              "processor": limits.processor}  # fmt: skip
    held = [f"limits.{name} of {share_text(it)}" for name, it in shares.items() if it is not None]
    if 0 < trial.micro_batch < trial.batch_size:
        held.append(f"memory ({trial.micro_batch} of {trial.batch_size} sequences at a time)")
    return held


def _speed_check(found: Findings, spec: RunSpec) -> Check:
    trial = found.trial
    if trial is None:
        if found.too_large:
            return Check("speed", UNCHECKED, "the model does not fit in memory")
        state = UNCHECKED if not found.trial_trouble else BAD
        return Check("speed", state, found.trial_trouble or "no trainer was run")
    speed = trial.tokens_per_second
    words = f"{speed:,.0f} tokens/s ({trial.inner_steps} inner steps in {trial.seconds:.1f} s"
    words += ", of Python's own text: the run's is not here)" if trial.stand_in else ")"
    if holding := _slowed(found, trial):
        words += f", held by {' and '.join(holding)}"
    chunk = spec.inner.batch_size * spec.data.sequence_length
    advice = "give it more limits.threads, or join a run with a smaller model"
    if speed <= 0 or chunk / speed > spec.round.max_seconds:
        longest = seconds_text(spec.round.max_seconds)
        step = seconds_text(chunk / speed) if speed > 0 else "longer than was waited"
        return Check("speed", BAD, f"{words}; an inner step takes {step}, the longest round "
                     f"{longest}", advice)  # fmt: skip
    swarm = found.swarm
    if swarm is not None and swarm.peers and swarm.tokens_per_second > 0:
        average = swarm.tokens_per_second / swarm.peers
        words += f"; the run's peers do {average:,.0f} on average"
        if speed < TOO_SLOW * average:
            return Check("speed", BAD, words, advice)
    return Check("speed", OK, words)


def _traffic(found: Findings) -> Traffic | None:
    if found.spec is None or found.trial is None:
        return None
    others = found.swarm.peers - found.runs_here if found.swarm else 1
    speed = found.trial.tokens_per_second
    speed += found.swarm.tokens_per_second if found.swarm else 0.0
    missing = max(0, text_bytes(found.spec) // 2 - found.text_here)
    client_mode = found.reach.client_mode
    return traffic_of(found.spec, found.trial.parameters, others, speed, client_mode, missing)


def _data(found: Findings, traffic: Traffic | None) -> Check:
    if traffic is None:
        return Check("data", UNCHECKED, "the model's size is not known")
    words = (
        f"{bytes_text(traffic.day_sent)} sent and {bytes_text(traffic.day_received)} received in a "
        f"day of training all the time, in rounds of {seconds_text(traffic.round_seconds)}; "
        f"{bytes_text(traffic.join_received)} once, to join"
    )
    budget = found.limits.data_per_month
    day = traffic.day_sent + traffic.day_received
    if budget is not None and traffic.join_received + DAYS_OF_MONTH * day > budget:
        days = max(0.0, budget - traffic.join_received) / day
        return Check("data", ATTENTION, f"{words}; limits.data_per_month is {bytes_text(budget)}, "
                     f"used up after {days:.1f} days", "raise limits.data_per_month, or set "
                     "limits.hours")  # fmt: skip
    return Check("data", OK, words)


def _link(found: Findings, spec: RunSpec, traffic: Traffic | None) -> Check:
    ways = {"upload": found.limits.upload, "download": found.limits.download}
    limited = {name: rate for name, rate in ways.items() if rate is not None}
    measured = "what the line carries is measured in the first rounds"
    if traffic is None or not limited:
        return Check("link", UNCHECKED, f"no limit is set; {measured}" if not limited else measured)
    name, rate = min(limited.items(), key=lambda it: it[1])
    seconds = 8 * traffic.round_sent / rate
    words = f"limits.{name} of {rate_text(rate)} takes {seconds_text(seconds)} for a round"
    needed = 8 * traffic.round_sent / spec.round.exchange_seconds
    if seconds > spec.round.exchange_seconds:
        allowed = seconds_text(spec.round.exchange_seconds)
        advice = f"raise limits.{name} to {rate_text(1.1 * needed)} or more"
        return Check("link", BAD, f"{words}; a round's exchange may take {allowed}", advice)
    if 8 * traffic.chatter > rate:
        advice = f"raise limits.{name} to {rate_text(8 * traffic.chatter + 1.1 * needed)} or more"
        talk = f"about {rate_text(8 * traffic.chatter)} for the others' records alone"
        return Check("link", ATTENTION, f"{words}; a swarm of this size takes {talk}", advice)
    if seconds > EXCHANGE_SHARE * spec.round.max_seconds:
        longest = seconds_text(spec.round.max_seconds)
        advice = f"raise limits.{name}, or it is late in many rounds"
        return Check("link", ATTENTION, f"{words}; the longest takes {longest}", advice)
    return Check("link", OK, f"{words}; {measured}")
