"""Which rows a process reads, by where the devices of its rows are."""

import numpy as np
import pytest

from presence_t5x.host_rows import HostRows, share_rows


def holders(num_hosts, devices_each, tensor):
    return np.repeat(np.arange(num_hosts), devices_each).reshape(-1, tensor)


@pytest.mark.parametrize("tensor", [1, 2, 4])
def test_hosts_of_whole_groups_read_rows_of_their_own(tensor):
    shares = share_rows(holders(3, 4, tensor))
    assert shares == {host: HostRows(host, 3, True) for host in range(3)}


def test_hosts_of_one_group_read_the_same_rows_and_one_of_them_writes():
    shares = share_rows(holders(4, 2, 4))
    assert [tuple(shares[host]) for host in range(4)] == [
        (0, 2, True),
        (0, 2, False),
        (1, 2, True),
        (1, 2, False),
    ]


def test_hosts_whose_devices_take_turns_share_groups():
    """Two hosts of two groups each, both of which lie across both hosts."""
    shares = share_rows(np.array([[0, 1], [0, 1], [2, 3], [2, 3]]))
    assert [share.index for share in shares.values()] == [0, 0, 1, 1]


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (
            holders(3, 2, 3),
            "num_tensor_partitions=3: groups of 3 devices, which share rows, lie across hosts of 2 "
            r"devices .*; use a divisor or a multiple of 2: one of \[1, 2, 6\]",
        ),
        (np.array([[0], [0], [1]]), "hosts of 1 to 2 devices .*; use hosts of equally many"),
    ],
)
def test_hosts_that_share_some_of_their_rows_are_refused(found, message):
    with pytest.raises(ValueError, match=message):
        share_rows(found)
