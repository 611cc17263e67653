"""The routes: search, the columns that serve, health, and the page. Searching is search_service.py's."""

import functools
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, TypeVar

import anyio
import anyio.to_thread
from fastapi import FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse
from starlette.exceptions import HTTPException
from starlette.staticfiles import StaticFiles

from steam_assets import __version__
from steam_assets.service.answers import Health, Problem, SearchAnswer, SearchRequest, ServedColumns
from steam_assets.service.door import Door
from steam_assets.service.problems import RETRY_AFTER_S, Busy
from steam_assets.service.search_service import SearchService

T = TypeVar("T")

PAGE = Path(__file__).with_name("page")
AT_WORK = 8
"""Searches, each with a connection; more of them would not be answered sooner."""
MOST_WAITING = 64
"""Searches beyond those at work; who comes later is told at once that the service is busy."""
SHOWN_INPUT = 60
PROBLEMS: dict[int | str, dict[str, object]] = {
    400: {"model": Problem, "description": "The service is asked by a name that it does not have."},
    403: {"model": Problem, "description": "A page of another site asks."},
    404: {"model": Problem, "description": "There is no such row or column."},
    409: {"model": Problem, "description": "The column serves no run yet."},
    414: {"model": Problem, "description": "The question is too long."},
    422: {"model": Problem, "description": "The question cannot be understood."},
    500: {"model": Problem, "description": "What nobody thought of; the service's log has it under the id given."},
    503: {"model": Problem, "description": "The database is away, or too many searches wait. Ask again."},
}
OF_COLUMNS: dict[int | str, dict[str, object]] = {status: PROBLEMS[status] for status in (400, 403, 409, 500, 503)}


def create_app(service: SearchService, hosts: Collection[str] | None) -> FastAPI:
    """The application of a service that is warm; it answers to these host names, or with None to any."""
    in_turn = Turns(AT_WORK, MOST_WAITING)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        service.close()

    app = FastAPI(
        title="steam_assets search",
        version=__version__,
        lifespan=lifespan,
        redirect_slashes=False,
        # Their pages load scripts from elsewhere.
        docs_url=None,
        redoc_url=None,
        exception_handlers={HTTPException: not_answered, RequestValidationError: not_understood},
    )
    app.add_middleware(Door, hosts=hosts)

    @app.get("/api/search", responses=PROBLEMS)
    async def search(question: Annotated[SearchRequest, Query()]) -> SearchAnswer:
        """Rows near the question in meaning, best first, for each column asked."""
        return await in_turn(functools.partial(service.answer, question))

    @app.get("/api/columns", responses=OF_COLUMNS)
    async def columns() -> ServedColumns:
        """The columns that searches read."""
        return ServedColumns(await in_turn(service.columns))

    @app.get("/healthz", responses={503: {"model": Health, "description": "The database is away."}})
    async def healthz(response: Response) -> Health:
        """Whether a search can be answered now."""
        health = await anyio.to_thread.run_sync(service.health)
        if health.status != "ok":
            response.status_code = 503
            response.headers["Retry-After"] = str(RETRY_AFTER_S)
        return health

    @app.get("/", include_in_schema=False)
    async def page() -> FileResponse:
        """The page; its search is in the address, which it reads itself."""
        return FileResponse(PAGE / "index.html", headers={"Cache-Control": "no-cache"})

    app.mount("/page", PageFiles(directory=PAGE))
    return app


class Turns:
    """Work in threads, so many at a time; Busy for what would wait behind too many others."""

    def __init__(self, at_once: int, most_waiting: int) -> None:
        self._most = at_once + most_waiting
        self._asked = 0
        self._threads = anyio.CapacityLimiter(at_once)

    async def __call__(self, work: Callable[[], T]) -> T:
        """What ``work`` returns or raises."""
        if self._asked >= self._most:
            raise Busy(f"{self._asked} searches are under way or wait already. Ask again in a moment.")
        self._asked += 1
        try:
            return await anyio.to_thread.run_sync(work, limiter=self._threads)
        finally:
            self._asked -= 1


class PageFiles(StaticFiles):
    """Files that a browser asks about again each time, as the next version of this package has others."""

    def file_response(self, *args: object, **kwargs: object) -> Response:
        """The file, or that it has not changed."""
        response = super().file_response(*args, **kwargs)  # type: ignore[arg-type]
        response.headers["Cache-Control"] = "no-cache"
        return response


async def not_answered(request: Request, error: Exception) -> JSONResponse:
    """A path that is not there, or not to be asked like this."""
    assert isinstance(error, HTTPException)
    said = f"There is nothing at {request.url.path[:100]}; the page is at /, and /openapi.json describes the API."
    if error.status_code == 405:
        said = f"{request.url.path} cannot be asked with {request.method}; expected GET."
    return JSONResponse({"error": said}, error.status_code, error.headers)


async def not_understood(_: Request, error: Exception) -> JSONResponse:
    """A question with parameters that cannot be: each with what was found and what was expected."""
    assert isinstance(error, RequestValidationError)
    found = error.errors()
    said = []
    for problem in found:
        name, given = str(problem["loc"][-1]), repr(problem.get("input"))
        shown = given if len(given) <= SHOWN_INPUT else f"{given[:SHOWN_INPUT]}..."
        expected = problem["msg"].replace("Input should", "it should").replace("String should", "it should")
        said.append(f"{name} is {shown}: {expected[0].lower()}{expected[1:]}.")
    too_long = any(problem["type"] == "string_too_long" for problem in found)
    return JSONResponse({"error": " ".join(said)}, 414 if too_long else 422)
