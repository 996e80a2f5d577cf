"""``python -m tests.core.holder NAME [TERM]``: holds a lease, and at each line on standard input asks whether it still
does. Another process, for tests to kill or to stop."""

import sys

from include.core import lease


def main(name: str, term: str = "60") -> None:
    lease.TERM, lease.RENEW, lease.AGAIN = float(term), float(term) / 4, 0.1
    try:
        with lease.lease(name):
            print("held", lease.token(name), flush=True)
            for line in sys.stdin:
                if line.strip() == "end":
                    break
                lease.require_held()
                print("still", flush=True)
    except lease.LostLeaseError as error:
        print("lost", error, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
