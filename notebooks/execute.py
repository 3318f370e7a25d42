"""Run every notebook of this folder, each from top to bottom in a fresh kernel of the Python that runs this file.

    python notebooks/execute.py             run all and save them with their outputs
    python notebooks/execute.py --check     run all, write nothing

The first cell that fails is named and ends the run with exit code 1. No times, widgets (progress bars) or versions are saved,
and of warnings not the file and line that gave them: those are paths of this machine.
"""

import argparse
import re
from pathlib import Path
from tempfile import TemporaryDirectory

import nbformat
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, DeadKernelError

WIDGET = "application/vnd.jupyter.widget-view+json"
PLACE_OF_WARNING = re.compile(r"^\S[^\n]*\.py:\d+: (?=\w*Warning: )", re.MULTILINE)


def executed(path: Path, scratch: str) -> nbformat.NotebookNode:
    """Return the notebook at `path` with the outputs of a run in its folder; raise SystemExit naming a failed cell."""
    notebook = nbformat.read(path, as_version=4)
    # With no folders to search, "python3" is the ipykernel of this interpreter; ipc keeps it off the network.
    specs = KernelSpecManager(kernel_dirs=[])
    kernel = AsyncKernelManager(kernel_spec_manager=specs, transport="ipc", connection_file=f"{scratch}/kernel.json")
    place = {"metadata": {"path": str(path.parent)}}
    client = NotebookClient(notebook, km=kernel, record_timing=False, resources=place)
    with client.setup_kernel(cleanup_kc=True):
        for number, cell in enumerate(notebook.cells, start=1):
            try:
                client.execute_cell(cell, number - 1)
            except (CellExecutionError, DeadKernelError) as error:
                raise SystemExit(f"{path.name}, cell {number} of {len(notebook.cells)} failed:\n{error}") from None
            cell.metadata.pop("execution", None)
            if cell.cell_type == "code":
                cell.outputs = [output for output in cell.outputs if WIDGET not in output.get("data", {})]
                for output in cell.outputs:
                    if output.output_type == "stream":
                        output.text = PLACE_OF_WARNING.sub("", output.text)
    kernelspec = {"display_name": "Python 3", "language": "python", "name": "python3"}
    notebook.metadata = nbformat.from_dict({"kernelspec": kernelspec, "language_info": {"name": "python"}})
    return notebook


def main() -> None:
    """Run the notebooks the command line asks for."""
    parser = argparse.ArgumentParser(description="Run the notebooks and save them with their outputs.")
    parser.add_argument("--check", action="store_true", help="write nothing")
    parser.add_argument("notebooks", nargs="*", type=Path, help="default: all of this folder")
    arguments = parser.parse_args()
    here = Path(__file__).resolve().parent
    paths = [path.resolve() for path in arguments.notebooks] or sorted(here.glob("*.ipynb"))
    if not paths:
        raise SystemExit(f"no notebook found in {here}")
    for path in paths:
        with TemporaryDirectory() as scratch:
            notebook = executed(path, scratch)
        if not arguments.check:
            nbformat.write(notebook, path)
        print(f"{path.name}: {len(notebook.cells)} cells ran", flush=True)


if __name__ == "__main__":
    main()
