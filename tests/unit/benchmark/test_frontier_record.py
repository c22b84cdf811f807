"""Names of files that measured runs are kept in."""

from hypothesis import given, strategies as st

from deepreduce.benchmark.frontier.record import network_name, run_file

LINKS = st.one_of(
    st.sampled_from(["lan", "wan", "none", "200Mbit,20ms", "200Mbit20ms", "20.0Mbit,2ms", "200Mbit-20ms"]),
    st.text("abM0123456789.,-/ %", max_size=12),
)


def test_links_of_one_speed_and_another_have_files_of_their_own():
    assert run_file("j", "delphi", "200Mbit,20ms") != run_file("j", "delphi", "200Mbit-20ms")
    assert run_file("j", "delphi", "lan") == "j-delphi-lan.json"


@given(LINKS, LINKS)
def test_one_file_for_each_link(one, other):
    files = {run_file("j", "delphi", network_name(text)) for text in (one, other)}
    assert len(files) == len({network_name(one), network_name(other)})
    assert not any("/" in name for name in files)
