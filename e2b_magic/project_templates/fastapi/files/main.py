"""A small web API."""

from fastapi import FastAPI

app = FastAPI()


@app.get("/")
def greet(name: str = "world") -> dict[str, str]:
    """Greets somebody."""
    return {"message": f"Hello, {name}!"}
