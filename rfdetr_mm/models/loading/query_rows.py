"""Fitting a checkpoint's groups, queries and classes to a head."""

import warnings

import torch
from torch import Tensor, nn

from rfdetr_mm.errors import InputError

QUERY_KEYS = ('query_embedding', 'query_box_deltas')
GROUP_KEYS = ('query_selector.', 'proposal_keypoint_branch.')
# What only a model of a task has, and the folder of its configs
TASKS = {
    'detection': ('', 'rfdetr'),
    'instance segmentation': ('mask_branch.', 'rfdetr_seg'),
    'keypoint': ('keypoint', 'rfdetr_pose'),
}


def cut_query_rows(
    head: nn.Module, state_dict: dict[str, Tensor], prefix: str
) -> None:
    """Keep the first groups and the first queries of each, in place.

    Queries that the checkpoint lacks keep the head's own values, with a
    warning.

    Args:
        head: A head with ``num_groups`` and parameters of the names in
            ``QUERY_KEYS``, shape (num_groups, num_queries, C).
        state_dict: Keys to values; only entries are replaced, the tensors
            themselves stay as they are.
        prefix: What the head's keys begin with.

    Source: rfdetr 1.11.2, models/weights.py, which keeps the same rows of
        refpoint_embed and query_feat.
    """
    for key in list(state_dict):
        if key.startswith(tuple(prefix + part for part in GROUP_KEYS)):
            state_dict[key] = state_dict[key][: head.num_groups]
    for name in QUERY_KEYS:
        key = prefix + name
        if key not in state_dict:
            continue
        own = getattr(head, name).detach()
        num_queries = own.shape[1]  # the head may be running fewer
        rows = state_dict[key][: head.num_groups, :num_queries]
        known = rows.shape[1]
        if known < num_queries and len(rows) == head.num_groups:
            warnings.warn(
                f'{key}: the checkpoint has {known} queries in each group, '
                f'the model num_queries={num_queries}; the '
                f'{num_queries - known} others keep their initial '
                'values and must be trained',
                stacklevel=2,
            )
            rows = torch.cat([rows, own[:, known:].to(rows)], dim=1)
        state_dict[key] = rows


def count_to_run(head: nn.Module, name: str) -> int:
    """How many decoder layers or queries a head runs in its current mode.

    Args:
        head: A head with ``num_layers``, ``num_queries`` and ``test_cfg``.
        name: 'num_layers' or 'num_queries'.

    Returns:
        The head's number; in evaluation that of ``test_cfg``, if it has one.

    Raises:
        InputError: If that of ``test_cfg`` is larger than the head's,
            negative or no query.
    """
    available = getattr(head, name)
    test_cfg = {} if head.training else (head.test_cfg or {})
    wanted = test_cfg.get(name)
    if wanted is None:
        return available
    least = 1 if name == 'num_queries' else 0
    if not least <= wanted <= available:
        raise InputError(
            f'test_cfg.{name} cuts a model down and lies between {least} and '
            f'the {available} that the model runs, got {wanted}'
        )
    return wanted


def refuse_other_classes(
    num_classes: int, state_dict: dict[str, Tensor], prefix: str
) -> None:
    """Raise if a checkpoint classifies into another number of classes.

    Args:
        num_classes: The head's classes.
        state_dict: Keys to values.
        prefix: What the head's keys begin with.

    Raises:
        InputError: With both counts and the way out.
    """
    key = f'{prefix}cls_branch.weight'
    if key in state_dict and len(state_dict[key]) != num_classes:
        raise InputError(
            f'the checkpoint has {len(state_dict[key])} classes ({key}), the '
            f'model has num_classes={num_classes}; nothing was loaded. Take '
            'the config that its training wrote into its work dir, or set '
            "model.bbox_head.num_classes to the checkpoint's; to train on "
            'other classes from it, use load_from and the ClassRowsHook, '
            'which re-initialises the rows'
        )


def refuse_other_task(
    task: str, state_dict: dict[str, Tensor], prefix: str
) -> None:
    """Raise if model and checkpoint are of different tasks.

    Args:
        task: A key of ``TASKS``.
        state_dict: Keys to values; without the head's keys, such as a
            backbone's, it is left alone.
        prefix: What the head's keys begin with.

    Raises:
        InputError: With both tasks and the way out.
    """
    if f'{prefix}cls_branch.weight' not in state_dict:
        return
    counts = {
        name: sum(key.startswith(prefix + part) for key in state_dict)
        for name, (part, _) in TASKS.items()
        if part
    }
    given = max(counts, key=counts.get)
    part, folder = TASKS[given]
    reason = f'{counts[given]} keys {prefix}{part}*'
    if counts[given] == 0:
        given, reason = 'detection', 'it has neither masks nor keypoints'
        folder = TASKS[given][1]
    if given == task:
        return
    raise InputError(
        f'the checkpoint is of {_article(given)} model ({reason}), this is '
        f'{_article(task)} model; nothing was loaded. Use the configs of '
        f'configs/{folder}, or a checkpoint of {_article(task)} model; to '
        'start from the backbone alone, give the backbone an init_cfg of '
        "type Pretrained with prefix 'backbone.'"
    )


def _article(task: str) -> str:
    return f'{"an" if task[0] in "aeiou" else "a"} {task}'


def refuse_other_schema(
    num_keypoints: tuple[int, ...], state_dict: dict[str, Tensor], prefix: str
) -> None:
    """Raise if a checkpoint has other keypoints than the model.

    Args:
        num_keypoints: Keypoints of each class in the model.
        state_dict: Keys to values.
        prefix: What the head's keys begin with.

    Raises:
        InputError: With both schemas and the way out.
    """
    active = state_dict.get(f'{prefix}active_keypoints')
    if active is None:
        return
    counts = tuple(active.sum(dim=1).tolist())
    if counts != num_keypoints:
        raise InputError(
            f'the checkpoint has {_short(counts)} keypoints per class '
            f'({prefix}active_keypoints), the model num_keypoints='
            f'{_short(num_keypoints)}; nothing was loaded. Set '
            "model.bbox_head.num_keypoints to the checkpoint's; to train on "
            'other keypoints from it, use load_from and the ClassRowsHook, '
            'which re-initialises their rows'
        )


def _short(counts: tuple[int, ...]) -> str:
    if len(counts) > 8:
        return f'({", ".join(map(str, counts[:8]))}, … {len(counts)} classes)'
    return str(counts)
