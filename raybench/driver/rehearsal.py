"""Start or join Ray as `raybench run --workers 4` does, and end it: `raybench doctor` runs this as a program."""

import sys

from raybench import config
from raybench.config import ConfigError
from raybench.driver.cluster import connected
from raybench.driver.preflight import check_ray

_WRONG_USAGE = 2


def main() -> int:
    """Print what was found in the last line: what starts, or the sentence with which a run would end."""
    benchmark = config.load(None, {})
    try:
        check_ray(benchmark, lambda _: None)
        with connected(benchmark, lambda _: None) as cluster:
            print("starts" if cluster.is_ours else f"answers at RAY_ADDRESS, with {cluster.nodes} nodes")
    except ConfigError as error:
        print(error)
        return _WRONG_USAGE
    return 0


if __name__ == "__main__":
    sys.exit(main())
