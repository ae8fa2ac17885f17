"""What a customer does on the payment provider's page, for people who have no browser at hand.

    python -m services.delivery.customer pay order-1
    python -m services.delivery.customer pay order-1 --card 4000-0000-0000-0002
    python -m services.delivery.customer refuse order-1

The provider is that of `make up`, or the one that GATEWAY_URL names. Other cards: `services/delivery/menu.py`.
"""

import argparse
import os
import sys
from pathlib import Path

import httpx

from orchestrator.local.ports import read

ANSWER_TIMEOUT_S = 10.0


def answer(gateway: httpx.Client, order_id: str, act: str, card: str | None = None) -> httpx.Response:
    """Pay or refuse the newest payment of an order. Raises LookupError while the provider knows none."""
    payments = gateway.get("/payments", params={"order_id": order_id}).raise_for_status().json()
    if not payments:
        raise LookupError(f"the provider knows of no payment for order {order_id}")
    return gateway.post(f"/payments/{payments[-1]['id']}/{act}", json={"card": card} if card else {})


def gateway_url() -> str:
    """GATEWAY_URL, else where `make up` put it. Raises LookupError."""
    if url := os.environ.get("GATEWAY_URL"):
        return url
    port = read(Path(os.environ.get("AMENDS_VAR", "var")) / "ports.json").get("gateway")
    if port is None:
        raise LookupError("no provider is known: `make up` first, or set GATEWAY_URL")
    return f"http://127.0.0.1:{port}"


def main() -> int:
    """Print what the provider says; 1 if it is a no."""
    parser = argparse.ArgumentParser(prog="python -m services.delivery.customer", description=__doc__)
    parser.add_argument("act", choices=("pay", "refuse"))
    parser.add_argument("order")
    parser.add_argument("--card", help="another card than the one that was ordered with")
    arguments = parser.parse_args()
    try:
        with httpx.Client(base_url=gateway_url(), timeout=ANSWER_TIMEOUT_S) as gateway:
            said = answer(gateway, arguments.order, arguments.act, arguments.card)
    except (LookupError, httpx.HTTPError) as error:
        print(error, file=sys.stderr)
        return 1
    print(said.text)
    return 0 if said.is_success else 1


if __name__ == "__main__":
    sys.exit(main())
