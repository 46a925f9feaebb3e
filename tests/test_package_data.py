"""What is not Python travels in the wheel: every other file of the packages is named by setup.cfg."""

from configparser import ConfigParser
from pathlib import Path

ROOT = Path(__file__).parent.parent
PACKAGES = ("edge_wz", "training", "export", "firmware_sim")


def others(package: Path) -> set[Path]:
    return {path for path in package.rglob("*") if path.is_file() and path.suffix not in (".py", ".pyc") and "__pycache__" not in path.parts}


def test_every_file_of_the_packages_is_in_the_wheel():
    settings = ConfigParser()
    settings.read(ROOT / "setup.cfg")
    patterns = {name: [part.strip() for part in text.split(",")] for name, text in settings["options.package_data"].items()}
    found = 0
    for name in PACKAGES:
        folders = {path.parent for path in (ROOT / name).rglob("__init__.py")}
        named = {path for folder in folders for pattern in patterns["*"] for path in folder.glob(pattern)}
        named |= {path for pattern in patterns.get(name, []) for path in (ROOT / name).glob(pattern)}
        assert others(ROOT / name) <= named
        found += len(others(ROOT / name))
    assert found > 60
