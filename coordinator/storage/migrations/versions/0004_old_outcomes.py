"""What the old tables of a SQLite file knew, in the new ones.

Outcomes that were told before count as what they claim: nobody had told of manifests yet.
"""

from __future__ import annotations

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

MOVES = (
    # else each outcome is looked for among all of its run: hours, for a run of some weeks
    "CREATE INDEX old_outcomes_of_attempts ON old_outcomes (run_id, round, attempt, committed)",
    "INSERT INTO runs SELECT run_id, spec, spec_hash, owner_key, signature, description,"
    " target_tokens, created_at_ms FROM old_runs",
    "INSERT INTO coverage SELECT run_id, round, pass_chunks, passes, merged_once, merged_again"
    " FROM old_coverage",
    """
    INSERT INTO peers
    SELECT row_number() OVER (ORDER BY told.run_id, told.peer_id), told.run_id, told.peer_id,
        coalesce(
            (SELECT min(finished_at_ms) / 1000.0 FROM old_outcomes o WHERE finished_at_ms > 0
                AND o.run_id = told.run_id AND o.peer_id = told.peer_id),
            (SELECT received_at FROM old_peers p
                WHERE p.run_id = told.run_id AND p.peer_id = told.peer_id),
            (SELECT created_at_ms / 1000.0 FROM old_runs r WHERE r.run_id = told.run_id))
    FROM (
        SELECT run_id, peer_id FROM old_peers
        UNION SELECT run_id, peer_id FROM old_outcomes
        UNION SELECT run_id, peer_id FROM old_validations
    ) told
    """,
    """
    INSERT INTO peer_states
    SELECT id, sequence, received_at, phase, reason, round, tokens, tokens_per_second, train_loss,
        name, version, journal, taken_row, '', 0, 0, '', '', 0, 0, ''
    FROM old_peers JOIN peers USING (run_id, peer_id)
    """,
    # of a committed attempt only those who saw it committed are asked; the first word stands
    """
    INSERT INTO attempts
    SELECT row_number() OVER (ORDER BY min(o.id)), o.run_id, o.round, o.attempt,
        max(o.finished_at_ms, r.created_at_ms) / 1000.0, o.committed,
        CASE WHEN o.committed THEN '' ELSE o.reason END, o.members, o.run_tokens, o.seconds, 0,
        count(*), sum(o.included), sum(o.included * o.bytes_sent),
        sum(o.included * o.own_tokens * coalesce(o.train_loss, 0)),
        sum(o.included * o.own_tokens * (o.train_loss IS NOT NULL)),
        count(DISTINCT CASE WHEN o.digest <> x'' AND o.committed THEN o.digest END)
    FROM old_outcomes o JOIN old_runs r USING (run_id)
    WHERE o.committed = (
        SELECT max(committed) FROM old_outcomes i
        WHERE i.run_id = o.run_id AND i.round = o.round AND i.attempt = o.attempt
    )
    GROUP BY o.run_id, o.round, o.attempt
    """,
    """
    INSERT INTO digests
    SELECT attempt, row_number() OVER (PARTITION BY attempt ORDER BY digest), digest FROM (
        SELECT DISTINCT a.id AS attempt, o.digest FROM old_outcomes o
        JOIN attempts a USING (run_id, round, attempt) WHERE o.digest <> x'' AND o.committed
    )
    """,
    """
    INSERT INTO words
    SELECT a.id, p.id, o.round, o.committed FROM old_outcomes o
    JOIN attempts a USING (run_id, round, attempt) JOIN peers p USING (run_id, peer_id)
    """,
    """
    INSERT INTO receipts
    SELECT p.id, o.round, a.id, max(o.finished_at_ms, r.created_at_ms) / 1000.0, o.own_tokens,
        o.included * o.own_tokens, o.included, 0, 1, o.reason
    FROM old_outcomes o JOIN old_runs r USING (run_id)
    JOIN attempts a USING (run_id, round, attempt) JOIN peers p USING (run_id, peer_id)
    WHERE o.committed AND o.attempt <> x''
    """,
    """
    INSERT INTO totals
    SELECT peer, sum(included), sum(NOT included), sum(claimed_tokens), sum(merged_tokens), 0,
        coalesce(max(CASE WHEN NOT included THEN round END), 0), '', -1, 0
    FROM receipts GROUP BY peer
    """,
    """
    UPDATE totals SET missed_reason = (
        SELECT reason FROM receipts r WHERE r.peer = totals.peer AND r.round = missed_round
    ) WHERE missed > 0
    """,
    *(
        f"""
        INSERT INTO credited
        SELECT peer, {span}, CAST(at AS INTEGER) / {span} * {span},
            sum(included), sum(NOT included), sum(claimed_tokens), sum(merged_tokens), 0
        FROM receipts GROUP BY peer, CAST(at AS INTEGER) / {span}
        """  # noqa: S608  numbers of ours
        for span in (3600, 86400)
    ),
    """
    INSERT INTO validations
    SELECT v.run_id, v.round, p.id, coalesce(
            (SELECT min(at) FROM attempts a WHERE a.run_id = v.run_id AND a.round = v.round),
            r.created_at_ms / 1000.0), v.run_tokens, v.loss
    FROM old_validations v JOIN old_runs r USING (run_id) JOIN peers p USING (run_id, peer_id)
    ORDER BY v.id
    """,
)
"""All that an old database knows, in SQLite's words. Times that nobody told are the run's start."""


def upgrade() -> None:
    if op.get_bind().dialect.name != "sqlite":
        return  # there are no such databases
    for statement in MOVES:
        op.execute(statement)
    for table in ("coverage", "validations", "outcomes", "peers", "runs"):
        op.drop_table(f"old_{table}")
