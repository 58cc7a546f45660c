"""The table of aliases."""

from sqlalchemy import ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column

from service.store.clock import now
from service.store.tables import Table


class Alias(Table):
    """A name that leads to a model, and that can be made to lead to another one."""

    __tablename__ = "aliases"
    name: Mapped[str] = mapped_column(String(300), primary_key=True)
    # No cascade: a model that clients reach by a name is not deleted from under them.
    model: Mapped[str] = mapped_column(ForeignKey("models.id"), index=True)
    created_at: Mapped[float] = mapped_column(server_default=now())
    updated_at: Mapped[float] = mapped_column(server_default=now())
