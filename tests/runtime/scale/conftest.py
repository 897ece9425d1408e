from ray_session import ray_here  # noqa: F401
