"""`python -m tests.app.without_dicom`: the service, in an interpreter that lacks what its extra `dicom` brings."""

import runpy
import sys

from tests.shipping.runtime_only import Absent

if __name__ == "__main__":
    sys.meta_path.insert(0, Absent({"pydicom", "highdicom", "gdcm", "jpeg_ls"}))
    runpy.run_module("app", run_name="__main__", alter_sys=True)
