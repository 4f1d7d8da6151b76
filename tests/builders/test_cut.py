import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders.cut import Cut

cuts = st.builds(
    lambda n, shard, job, search: Cut(n, shard, shard * job, shard * job * search),
    st.integers(1, 500),
    st.integers(1, 20),
    st.integers(1, 5),
    st.integers(1, 5),
)


@given(cuts)
def test_every_row_is_in_exactly_one_shard_job_and_search(cut):
    rows = list(range(cut.num_locations))
    assert [row for shard in cut.shards for row in cut.rows_of_shard(shard)] == rows
    assert [row for job in cut.jobs for row in cut.rows_of_job(job)] == rows
    assert [row for search in cut.searches for row in cut.rows_of_search(search)] == rows


@given(cuts)
def test_pieces_nest(cut):
    assert [shard for job in cut.jobs for shard in cut.shards_of_job(job)] == list(cut.shards)
    for shard in cut.shards:
        job = cut.job_of_shard(shard)
        assert shard in cut.shards_of_job(job)
        assert set(cut.rows_of_shard(shard)) <= set(cut.rows_of_job(job))
        assert set(cut.rows_of_job(job)) <= set(cut.rows_of_search(cut.search_of_job(job)))


def test_a_piece_beyond_the_end_is_an_error():
    with pytest.raises(IndexError, match="64 locations"):
        Cut(64, 16, 16, 64).rows_of_shard(4)
