"""Who may take part in a run, and what is wanted of it: orders, invitations, members."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from sqlalchemy import Column, Table, delete, insert, or_, select, update

from coordinator.domain import Invitation, Member
from coordinator.storage import schema
from coordinator.storage.database import Database
from coordinator.storage.upsert import replacing


class MembershipStore:
    """Orders, invitations and members of all runs."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def set_orders(self, run_id: str, signed: bytes) -> None:
        """Keep a run's newest orders: a serialised SignedOrders, which carries its charter."""
        with self._database.transaction() as connection:
            connection.execute(
                replacing(connection, schema.orders), {"run_id": run_id, "signed": signed}
            )

    def orders(self) -> dict[str, bytes]:
        """By run, the serialised SignedOrders that were set last."""
        with self._database.transaction() as connection:
            rows = connection.execute(select(schema.orders.c.run_id, schema.orders.c.signed))
            return {row.run_id: row.signed for row in rows}

    def add_invitation(self, run_id: str, invitation: Invitation) -> None:
        """Keep a new invitation."""
        with self._database.transaction() as connection:
            connection.execute(insert(schema.invitations), {"run_id": run_id, **asdict(invitation)})

    def invitation(self, run_id: str, secret_hash: bytes) -> Invitation | None:
        """The invitation whose secret has this hash."""
        table = schema.invitations
        query = select(*_without_run(table)).where(
            table.c.run_id == run_id, table.c.secret_hash == secret_hash
        )
        with self._database.transaction() as connection:
            row = connection.execute(query).mappings().first()
        return Invitation(**row) if row is not None else None

    def invitations(self, run_id: str) -> list[Invitation]:
        """Those of a run, the oldest first."""
        table = schema.invitations
        query = select(*_without_run(table)).where(table.c.run_id == run_id)
        with self._database.transaction() as connection:
            rows = connection.execute(query.order_by(table.c.created_at)).mappings()
            return [Invitation(**row) for row in rows]

    def spend(self, run_id: str, secret_hash: bytes, now: float) -> bool:
        """Take one use of an invitation; False if it is unknown, used up, or expired at `now`.

        Together with `put_member` in one transaction of the store, a use is never lost.
        """
        table = schema.invitations
        command = (
            update(table)
            .where(
                table.c.run_id == run_id,
                table.c.secret_hash == secret_hash,
                table.c.expires_at > now,
                or_(table.c.uses_left.is_(None), table.c.uses_left > 0),
            )
            .values(uses_left=table.c.uses_left - 1)
        )
        with self._database.transaction() as connection:
            return connection.execute(command).rowcount == 1

    def forget_invitations(self, run_id: str, expired_before: float) -> None:
        """Drop invitations that ended before a moment (unix seconds)."""
        table = schema.invitations
        with self._database.transaction() as connection:
            connection.execute(
                delete(table).where(table.c.run_id == run_id, table.c.expires_at < expired_before)
            )

    def put_member(self, run_id: str, member: Member) -> None:
        """Keep a member in place of what was known of it."""
        with self._database.transaction() as connection:
            connection.execute(
                replacing(connection, schema.members), {"run_id": run_id, **asdict(member)}
            )

    def member(self, run_id: str, peer_id: str) -> Member | None:
        """What is kept of one peer, if it was ever admitted or banned."""
        table = schema.members
        query = select(*_without_run(table)).where(
            table.c.run_id == run_id, table.c.peer_id == peer_id
        )
        with self._database.transaction() as connection:
            row = connection.execute(query).mappings().first()
        return Member(**row) if row is not None else None

    def members(self, run_id: str) -> list[Member]:
        """All members of a run, banned ones included, by peer id."""
        table = schema.members
        query = select(*_without_run(table)).where(table.c.run_id == run_id)
        with self._database.transaction() as connection:
            rows = connection.execute(query.order_by(table.c.peer_id)).mappings()
            return [Member(**row) for row in rows]


def _without_run(table: Table) -> list[Column[Any]]:
    return [column for column in table.c if column.name != "run_id"]
