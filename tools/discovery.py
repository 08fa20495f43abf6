"""Discovery of modules: every file of a package's folder, and of a folder of one's own outside the checkout.

The catalogues of tools and of flows walk with it; nothing else imports a module by name or by path.
"""

import hashlib
import importlib
import importlib.util
import pkgutil
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

from memory.errors import Permanent


def package_modules(package: ModuleType) -> Iterator[ModuleType]:
    """Yield every module of a package's folder; import errors are not hidden."""
    for module in pkgutil.iter_modules(package.__path__):
        yield importlib.import_module(f"{package.__name__}.{module.name}")


def folder_modules(folder: Path, setting: str) -> Iterator[ModuleType]:
    """Yield the module of every `*.py` file of a folder, but not of those that begin with an underscore.

    Raises Permanent("configuration") that names the folder or the file at fault.
    """
    for path in files_of(folder, "*.py", setting):
        if not path.name.startswith("_"):
            yield _load(path.resolve())


def files_of(folder: Path, pattern: str, setting: str) -> list[Path]:
    """Return the files of a folder that a setting names; raises Permanent("configuration") if there is no folder."""
    if not folder.is_dir():
        raise Permanent("configuration", f"the folder {str(folder)!r} does not exist; make it or mend {setting}")
    return sorted(folder.glob(pattern))


def text_of(path: Path) -> str:
    """Return the text of a file, without a byte order mark; raises Permanent("configuration") if it cannot be read."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise Permanent("configuration", f"{str(path)!r} cannot be read as text: {error}; mend or move it") from None


def _load(path: Path) -> ModuleType:
    # Two folders may have files of one name, so the module's name holds its place.
    name = f"own_{hashlib.sha256(str(path).encode()).hexdigest()[:12]}_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise Permanent("configuration", f"{str(path)!r} cannot be imported; name it after a Python module")
    module = importlib.util.module_from_spec(spec)
    # Pydantic looks for the types that an annotation names in the module as it is registered.
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        message = f"{str(path)!r} cannot be imported: {type(error).__name__}: {error}; mend or move it"
        raise Permanent("configuration", message) from error
    return module
