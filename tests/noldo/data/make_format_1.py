"""Makes `format_1.zip`: a small data set of format 1, to be readable forever.

Run once, in the checkout, when format 1 was current: `python -m tests.noldo.data.make_format_1`. Do not run it
again: the file is what noldo wrote then, not what it would write now. It prints the digest that
`test_format.py` expects.
"""

import tempfile
import zipfile
from pathlib import Path

from noldo.digest import digest
from tests.noldo.made_up_data_set import small_layout, write_data_set

TARGET = Path(__file__).with_name("format_1.zip")
FIXED_TIME = (1980, 1, 1, 0, 0, 0)


def main() -> None:
    """Write the file beside this one."""
    with tempfile.TemporaryDirectory() as folder:
        layout = small_layout(
            num_locations=6, season_names=("winter", "summer"), patch_size_px=6, locations_per_shard=4
        )
        data_set = write_data_set(Path(folder), layout=layout)
        with zipfile.ZipFile(TARGET, "w") as archive:
            for path in sorted(data_set.root.rglob("*")):
                if path.is_file():
                    entry = zipfile.ZipInfo(path.relative_to(data_set.root).as_posix(), FIXED_TIME)
                    archive.writestr(entry, path.read_bytes(), zipfile.ZIP_DEFLATED)
        print(digest(data_set.root))


if __name__ == "__main__":
    main()
