"""The same network behind LitServe: `python benchmarks/peers/with_litserve.py PORT`."""

import sys

import litserve
from network import answer, network


class Api(litserve.LitAPI):  # type: ignore[misc]  # it carries no types
    """LitServe runs it in a process of its own."""

    def setup(self, device: str) -> None:
        """Make the network."""
        self.model = network()

    def predict(self, request: dict[str, list[list[float]]]) -> dict[str, list[list[float]]]:
        """Answer one request."""
        return answer(self.model, request["rows"])


if __name__ == "__main__":
    server = litserve.LitServer(Api(), accelerator="cpu", workers_per_device=1)
    server.run(
        host="127.0.0.1", port=int(sys.argv[1]), num_api_servers=1, log_level="warning", generate_client_file=False
    )
