"""GET /problems/{code}: what a problem's `type` leads to."""

from fastapi import APIRouter

from app.api.errors import ALL_KINDS, UnknownProblem
from app.api.examples import PROBLEM_KIND, json_example, problems
from app.api.schemas import ProblemKind

router = APIRouter(tags=["reference"])


@router.get(
    "/problems/{code}",
    summary="What a problem means",
    responses={
        200: json_example(PROBLEM_KIND),
        **problems("host-refused", "unknown-problem", "invalid-request"),
    },
)
async def explain_problem(code: str) -> ProblemKind:
    """What a problem means and what to do about it; every problem's `type` leads here."""
    kind = ALL_KINDS.get(code)
    if kind is None:
        raise UnknownProblem("No problem has this code.")
    return ProblemKind(code=kind.code, status=kind.status, title=kind.title, advice=kind.advice)
