"""The energy that peers say they took."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    nothing = sa.text("0")
    told: sa.Column[float] = sa.Column(
        "energy_joules", sa.Double(), nullable=False, server_default=nothing
    )
    op.add_column("peer_states", told)
