"""What all models of the app share."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

from monailabel.interfaces.datastore import Datastore
from monailabel.interfaces.tasks.infer_v2 import InferTask, InferType

from ...methods import Registration
from .labels import labelled
from .natural_order import natural_order
from .pairs import ReferencePair, read_method, read_pair, read_reference
from .registrations import Registrations
from .results import Answer, Clock

__all__ = ["RegistrationTask"]


class RegistrationTask(InferTask):
    """A model that brings a reference of the datastore onto an image.

    Its ``config``, which clients show as choices, is made anew for every question, since images, labels and trained
    methods come and go: references that have a label are listed first.

    Args:
        datastore: with images and labels.
        registrations: shared by all models of the app.
        kind: type of the model, by which clients choose what they show.
        description: one line for clients.
    """

    needs_reference = True
    needs_label = False

    def __init__(self, datastore: Datastore, registrations: Registrations, kind: InferType, description: str) -> None:
        super().__init__(kind, labels=None, dimension=3, description=description)
        self.datastore, self.registrations = datastore, registrations

    @abstractmethod
    def __call__(self, request: Mapping[str, Any]) -> Answer:
        """The file and the JSON part that answer a request; see :func:`~.pairs.read_pair` for its keys."""

    def is_valid(self) -> bool:
        """Always: there is nothing to download."""
        return True

    def info(self) -> dict[str, Any]:
        """What clients are told of the model."""
        return {**super().info(), "labels": self.label_names()}

    def label_names(self) -> dict[str, int]:
        """Names of the labels that the model may answer, to their values."""
        return {}

    def config(self) -> dict[str, Any]:
        """Choices for ``reference`` and ``method``, the first of each being what a client takes by itself."""
        first = labelled(self.datastore)
        others = [] if self.needs_label else sorted(set(self.datastore.list_images()) - set(first), key=natural_order)
        references = {"reference": [*first, *others] or [""]}  # 3D Slicer takes the first of every list
        return {**(references if self.needs_reference else {}), "method": self.registrations.methods()}

    def check(self, request: Mapping[str, Any]) -> None:
        """Whether a request can be answered, whatever image it names.

        Raises:
            HTTPException: 4xx with a reason, when it cannot.
        """
        read_method(request, self.registrations.methods())
        if self.needs_reference:
            read_reference(request, self.datastore, needs_label=self.needs_label)

    def registered(self, request: Mapping[str, Any], clock: Clock) -> tuple[ReferencePair, Registration]:
        """The pair that a request asks for, and its registration.

        Raises:
            HTTPException: when there is none, with the reason.
        """
        pair = read_pair(request, self.datastore, needs_label=self.needs_label, methods=self.registrations.methods())
        clock.lap("pre")
        registration = self.registrations(pair)
        clock.lap("infer")
        return pair, registration
