"""A network behind FastAPI and nothing else: `python benchmarks/peers/bare.py PORT`."""

import sys

import uvicorn
from fastapi import FastAPI
from network import answer, network
from pydantic import BaseModel

app, model = FastAPI(), network()


class Rows(BaseModel):
    """Rows to predict."""

    rows: list[list[float]]


@app.post("/predict")
async def predict(body: Rows) -> dict[str, list[list[float]]]:
    """Answer on the event loop, which for a network this small is quicker than to go to a thread."""
    return answer(model, body.rows)


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning", access_log=False)
