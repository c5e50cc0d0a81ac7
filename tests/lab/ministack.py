"""Starts ministack with the checksums of the AWS Common Runtime.

ministack computes CRC-64/NVME and CRC-32C in Python, at a few MB a second, and every part that batchpipe
writes carries one. The runtime's are 300 times as fast, and a second opinion on ours: they are AWS's own.
setup.sh puts this in the place of ministack's own start script.
"""

import sys

import ministack.services.s3 as s3
from awscrt import checksums
from ministack.app import main

s3._crc64nvme = checksums.crc64nvme
s3._crc32c = checksums.crc32c

if __name__ == "__main__":
    sys.exit(main())
