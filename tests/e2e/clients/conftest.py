"""The servers, started once for all tests here."""
import pytest
from served_model import QWEN, TOY, Fence, ServedModel


def serve(path, *flags):
    model = ServedModel(path, *flags)
    yield model
    model.wait_idle()
    model.stop()


@pytest.fixture(scope="session")
def coder():
    """Qwen2.5-Coder-0.5B."""
    yield from serve(QWEN, "-c", 8192)


@pytest.fixture(scope="session")
def thinker():
    """The toy, which thinks."""
    yield from serve(TOY)


@pytest.fixture(scope="module")
def busy():
    """Qwen2.5-Coder-0.5B again; one request at a time, one waiting."""
    yield from serve(QWEN, "-c", 8192, "--parallel", 1, "--queue", 1)


@pytest.fixture
def fence():
    one = Fence()
    yield one
    one.door.close()
    assert one.knocks == [], "a client wanted out"
