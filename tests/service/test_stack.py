import threading
from pathlib import Path

from service.stack import _published

URL = "http://127.0.0.1:8765"
TIMES = 500


def test_whoever_finds_the_address_finds_all_of_it(tmp_path: Path) -> None:
    file, found, over = tmp_path / "url", set[str](), threading.Event()

    def look() -> None:
        while not over.is_set():
            try:
                found.add(file.read_text())
            except FileNotFoundError:
                continue

    reader = threading.Thread(target=look)
    reader.start()
    for _ in range(TIMES):
        with _published(file, URL):
            pass
    over.set()
    reader.join()
    assert found == {URL + "\n"}
    assert not list(tmp_path.iterdir())
