"""What can be asked for."""

from typing import Annotated

from fastapi import APIRouter, Path

from ladders.errors import UnknownRecipe
from ladders.model import Recipe
from serve.api.deps import Farm
from serve.api.problem_docs import problems
from serve.api.schemas import RECIPE_PATTERN, RecipeList, RecipeSummary
from serve.errors import NotFound

router = APIRouter(prefix="/v1/recipes", tags=["recipes"])


@router.get("", operation_id="listRecipes", summary="Every recipe", responses=problems(401))
async def list_recipes(farm: Farm) -> RecipeList:
    """Names and what they are for."""
    found = [farm.recipes.get(name) for name in farm.recipes.names]
    return RecipeList(recipes=[RecipeSummary(name=one.name, description=one.description) for one in found])


@router.get("/{name}", operation_id="getRecipe", summary="One recipe", responses=problems(401, 404, 422))
async def get_recipe(name: Annotated[str, Path(pattern=RECIPE_PATTERN, examples=["standard"])], farm: Farm) -> Recipe:
    """All of its settings, defaults filled in."""
    try:
        return farm.recipes.get(name)
    except UnknownRecipe as error:  # in a body it is a wrong value, here it is a path that leads nowhere
        raise NotFound(error.public_message) from None
