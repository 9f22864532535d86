"""The store: the database of the records and the artifacts beside it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Self

from pydantic import SecretStr

from trade_pipeline.core.store.artifacts import ArtifactStore
from trade_pipeline.core.store.closing import Closing
from trade_pipeline.core.store.database import Database
from trade_pipeline.settings import Settings


def artifacts_of(settings: Settings) -> ArtifactStore:
    """The artifacts that the settings name, and the heads of the ledger."""
    url = settings.artifacts_url or str(settings.home / "artifacts")
    return ArtifactStore(url, settings.heads_url)


@dataclass(frozen=True, slots=True)
class Store(Closing):
    """Use with ``with``, or `close` it: an embedded server stops with its last user.

    Attributes:
        timestamp_url: of the authority that stamps the ledger's days; None: nobody does.
    """

    database: Database
    artifacts: ArtifactStore
    timestamp_url: SecretStr | None = None

    @classmethod
    def open(cls, settings: Settings) -> Self:
        """The store that the settings name.

        Raises:
            StoreUnavailable: the database cannot be started, reached, or is not migrated.
        """
        home = settings.home
        if settings.database_url is not None:
            database = Database.at(settings.database_url.get_secret_value())
        else:
            database = Database.embedded(home / "postgres")
        return cls(database, artifacts_of(settings), settings.timestamp_url)

    @classmethod
    def in_folder(cls, folder: Path) -> Self:
        """A store of its own in a folder, with its own embedded server."""
        return cls(Database.embedded(folder / "postgres"), ArtifactStore(str(folder / "artifacts")))

    @classmethod
    def of(cls, db_path: str | Path | None) -> Self:
        """The store in a folder of its own; None: the one that the settings name.

        Raises:
            StoreUnavailable: see `open`.
        """
        return cls.open(Settings()) if db_path is None else cls.in_folder(Path(db_path))

    def close(self) -> None:
        """Give the database back."""
        self.database.close()
