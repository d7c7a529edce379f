"""The program of ``MoverProcess``: carry one move out and tell by the exit code how it ended."""

import faulthandler
import logging
import signal
import sys
from pathlib import Path
from typing import Final

from shardrouter.catalog import CatalogStore, catalog_engine
from shardrouter.config import load_settings
from shardrouter.errors import MoveBusy, MoveRefused, MoveTakenOver
from shardrouter.rebalance.mover import Mover, Stops

logger = logging.getLogger(__name__)

OVER: Final = 0
REFUSED: Final = 1
BUSY: Final = 3
TAKEN_OVER: Final = 4
ASKS: Final = 5


def main(settings_path: str, number: str, owner: str) -> int:
    settings = load_settings(Path(settings_path))
    engine = catalog_engine(settings.catalog.dsn)
    store = CatalogStore(engine)
    mover = Mover(settings, store.moves(), store, owner=owner, stops=Stops(wait_soak=True))
    try:
        move = mover.run(int(number))
    except (MoveBusy, MoveTakenOver, MoveRefused) as error:
        logger.warning("%s", error)
        return {MoveBusy: BUSY, MoveTakenOver: TAKEN_OVER, MoveRefused: REFUSED}[type(error)]
    logger.info("ended in %s, attention %s", move.state, move.attention)
    return OVER if move.is_over else ASKS


if __name__ == "__main__":
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s.%(msecs)03d %(name)s %(message)s", datefmt="%X"
    )
    faulthandler.register(signal.SIGUSR1)  # a test that waits in vain asks where it is
    sys.exit(main(*sys.argv[1:]))
