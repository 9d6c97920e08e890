"""docs/redis.md says what the scenes found."""

from . import table
from .redis import needs_redis


@needs_redis
def test_the_page_says_what_is_alike_and_what_is_not():
    assert table.written() == table.wanted(), "`make alike` writes it anew"
