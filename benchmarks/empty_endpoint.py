"""What Ray Serve itself costs: a FastAPI endpoint that does nothing."""

from fastapi import FastAPI
from ray import serve as ray_serve

api = FastAPI()


class Empty:
    """Nothing."""

    @api.get("/")
    async def nothing(self) -> dict[str, bool]:
        """An answer without work."""
        return {"ok": True}


EmptyDeployment = ray_serve.deployment(name="Empty")(ray_serve.ingress(api)(Empty))
