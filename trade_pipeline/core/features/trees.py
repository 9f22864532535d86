"""Tree models in xgboost's own open form, checked before xgboost reads them.

xgboost believes what a document says of itself: a child beyond the end of its tree is read from
memory that is not the tree's, and a tree whose branches meet again is walked for ever.  So a
document is read here first, and refused unless each tree is one and fits the inputs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from trade_pipeline.core.errors import BadConfig, first_problem

if TYPE_CHECKING:
    import xgboost as xgb

MAX_TREES = 20_000
MAX_NODES = 1 << 16
Whole = Annotated[int, Field(ge=-1, lt=1 << 31)]
# Numbers that xgboost writes as texts.
Text = Annotated[str, Field(pattern=r"^[0-9]{1,9}$")]
Nothing = Annotated[list[Any], Field(max_length=0)]


class _Part(BaseModel):
    # What another version adds is left to xgboost, which checks types.
    model_config = ConfigDict(strict=True, allow_inf_nan=False)


class _TreeParameters(_Part):
    num_nodes: Text
    num_feature: Text
    size_leaf_vector: Literal["0", "1"]


class _Tree(_Part):
    tree_param: _TreeParameters
    left_children: list[Whole]
    right_children: list[Whole]
    parents: list[Whole]
    split_indices: list[Whole]
    split_conditions: list[float]
    split_type: list[Literal[0]]
    default_left: list[Literal[0, 1]]
    base_weights: list[float]
    loss_changes: list[float]
    sum_hessian: list[float]
    categories: Nothing
    categories_nodes: Nothing
    categories_segments: Nothing
    categories_sizes: Nothing

    def problem(self, inputs: int) -> str | None:
        """Why it is no tree over so many inputs; None: it is one."""
        nodes = int(self.tree_param.num_nodes)
        if not 1 <= nodes <= MAX_NODES:
            return f"num_nodes={nodes}: expected 1 to {MAX_NODES:,}"
        if int(self.tree_param.num_feature) != inputs:
            return f"num_feature={self.tree_param.num_feature}: expected {inputs}"
        for name in (
            "left_children", "right_children", "parents", "split_indices", "split_conditions",
            "split_type", "default_left", "base_weights", "loss_changes", "sum_hessian",
        ):  # fmt: skip
            if len(getattr(self, name)) != nodes:
                return f"{name} has {len(getattr(self, name))} values: expected {nodes}"
        left, right = np.array(self.left_children), np.array(self.right_children)
        if ((left < 0) != (right < 0)).any():
            return "a node has one child: expected two or none"
        splits = np.flatnonzero(left >= 0)
        children = np.concatenate((left[splits], right[splits]))
        # Nobody is the child of two, and the root of none: whatever hangs at the root is a tree.
        if len(np.unique(children)) < len(children) or (children < 1).any():
            return "a node has two parents, or is above the root"
        if (children >= nodes).any():
            return f"a child is node {children.max()} of {nodes}"
        if (np.array(self.parents)[children] != np.tile(splits, 2)).any():
            return "parents and children differ"
        features = np.array(self.split_indices)
        if ((features < 0) | (features >= inputs)).any():
            return f"split_indices: expected inputs 0 to {inputs - 1}"
        # xgboost's numbers have 32 bits.
        with np.errstate(over="ignore"):
            if not np.isfinite(np.array(self.split_conditions).astype(np.float32)).all():
                return "split_conditions: a value is too large"
        return None


class _TreesParameters(_Part):
    num_trees: Text
    num_parallel_tree: Literal["1"] = "1"


class _Categories(_Part):
    enc: Nothing
    feature_segments: Nothing
    sorted_idx: Nothing


class _Trees(_Part):
    gbtree_model_param: _TreesParameters
    iteration_indptr: list[Whole]
    tree_info: list[Literal[0]]
    trees: Annotated[list[_Tree], Field(max_length=MAX_TREES)]
    cats: _Categories | None = None


class _Booster(_Part):
    name: Literal["gbtree"]
    model: _Trees


class _LearnerParameters(_Part):
    num_feature: Text
    num_class: Literal["0"]
    num_target: Literal["1"] = "1"
    base_score: Annotated[str, Field(pattern=r"^\[?-?[0-9.]{1,20}(E[-+]?[0-9]{1,2})?\]?$")]


class _Objective(_Part):
    name: Literal["binary:logistic", "reg:squarederror"]


class _Learner(_Part):
    attributes: dict[str, str]
    feature_names: list[str]
    feature_types: list[str]
    gradient_booster: _Booster
    learner_model_param: _LearnerParameters
    objective: _Objective


class _Document(_Part):
    learner: _Learner
    version: Annotated[list[Annotated[int, Field(ge=0, lt=1000)]], Field(min_length=3)]


def read_trees(document: object, inputs: Sequence[str], named: str, objective: str) -> xgb.Booster:
    """The tree model of a document, which is xgboost's JSON as plain data.

    Args:
        inputs: the names of its columns, in order.
        named: what its errors call it.
        objective: that it must have been trained for.

    Raises:
        BadConfig: it is no such document, it has other inputs, or its trees are none.
    """
    import xgboost as xgb

    try:
        learner = _Document.model_validate(document).learner
    except ValidationError as error:
        raise BadConfig(f"{named}: damaged: {first_problem(error, named)}") from None
    trees = learner.gradient_booster.model
    count, columns = len(trees.trees), learner.learner_model_param.num_feature
    base_score = learner.learner_model_param.base_score
    wrong = next(
        (
            what
            for is_wrong, what in (
                (
                    learner.objective.name != objective,
                    f"objective={learner.objective.name!r}: expected {objective!r}",
                ),
                # xgboost loads it and refuses it when it is asked to predict.
                (
                    objective == "binary:logistic" and not 0 < _number(base_score) < 1,
                    f"base_score={base_score!r}: expected a probability between 0 and 1",
                ),
                (int(columns) != len(inputs), f"num_feature={columns}: expected {len(inputs)}"),
                (
                    bool(learner.feature_names) and learner.feature_names != list(inputs),
                    "feature_names: expected those of the inputs",
                ),
                (
                    len(learner.feature_types) not in (0, len(inputs)),
                    "feature_types: expected one of each input",
                ),
                (
                    int(trees.gbtree_model_param.num_trees) != count
                    or len(trees.tree_info) != count,
                    f"num_trees: expected {count}",
                ),
                (
                    trees.iteration_indptr != list(range(count + 1)),
                    "iteration_indptr: expected one tree a round",
                ),
            )
            if is_wrong
        ),
        None,
    )
    for number, tree in enumerate(trees.trees):
        wrong = wrong or tree.problem(len(inputs))
        if wrong is not None:
            raise BadConfig(f"{named}: damaged: tree {number}: {wrong}")
    if wrong is not None:
        raise BadConfig(f"{named}: damaged: {wrong}")
    booster = xgb.Booster({"nthread": 1})
    try:
        booster.load_model(bytearray(orjson.dumps(document)))
    except xgb.core.XGBoostError as error:
        raise BadConfig(
            f"{named}: xgboost cannot read it: {' '.join(str(error).split())[:200]}"
        ) from None
    return booster


def _number(text: str) -> float:
    """A number with or without brackets; NaN: it is none."""
    try:
        return float(text.strip("[]"))
    except ValueError:
        return math.nan
