"""A bare FastAPI application: the ceiling of any route on this server."""

from fastapi import FastAPI

app = FastAPI()


@app.get("/")
async def greet() -> dict[str, str]:
    return {"message": "Hello World"}
