"""The output names of a job's cells, quickly: the template of ``output.name`` put together from pieces."""

from __future__ import annotations

from seedream_jobs.expand.cells import Cells
from seedream_jobs.expand.matrix import Cell
from seedream_jobs.expand.names import checked_name
from seedream_jobs.expand.pieces import Pieces
from seedream_jobs.job.template import TemplateProblem


class OutputNames:
    """Says what the images of a cell are called, without folder and suffixes. The job has an ``output.name``."""

    def __init__(self, cells: Cells) -> None:
        self._spec, self._matrix = cells.spec, cells.matrix
        self._pieces: Pieces | None = None

    def __call__(self, cell: Cell) -> str:
        """The name of a cell's images.

        :raises TemplateProblem: from the template, or for a name that no file system takes
        """
        template = self._spec.output_name
        if template is None:
            raise TemplateProblem("the job gives no output.name")
        if cell.choice is None or cell.includes:
            return checked_name(template.render(self._matrix.bindings(cell)))
        if self._pieces is None:
            self._pieces = Pieces(template, self._spec, str.encode)
        return checked_name(self._pieces.text(cell.choice).decode())
