"""The entry point behind ./scripts/learn, test, bench and check. Standard library only, Python >= 3.9."""

import signal
import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parent.parent)
sys.dont_write_bytecode = True

from house import bench, check, learn, say, test  # noqa: E402

COMMANDS = {"learn": learn.main, "test": test.main, "bench": bench.main, "check": check.main}


def main() -> int:
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))  # what runs below ends too: say.wait_or_stop
    try:
        return COMMANDS[sys.argv[1]](sys.argv[2:])
    except say.Failed as failure:
        failure.show()
        return 1
    except KeyboardInterrupt:
        say.line("stopped")
        return 130


if __name__ == "__main__":
    sys.exit(main())
