"""The base of what requests, answers and messages look like."""

from pydantic import BaseModel, ConfigDict


class Shape(BaseModel):
    """A shape; what checks and writes it is built when the first one comes.

    A station that has just started sees few of its hundred shapes.
    """

    model_config = ConfigDict(defer_build=True)
