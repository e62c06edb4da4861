"""The same work by openmined-psi, whose client learns the intersection: openmined.py COUNT"""

import sys
import time

import private_set_intersection.python as psi
from files import ids_of

count = int(sys.argv[1])
theirs, ours = ids_of(0, count), ids_of(1, count)
began, processor = time.monotonic(), time.process_time()
server, client = psi.server.CreateWithNewKey(True), psi.client.CreateWithNewKey(True)
setup = server.CreateSetupMessage(1e-9, count, theirs, psi.DataStructure.RAW)
response = server.ProcessRequest(client.CreateRequest(ours))
found = client.GetIntersection(setup, response)
print("work", time.monotonic() - began)
print("processor", time.process_time() - processor)
assert {ours[at] for at in found} == set(theirs) & set(ours)
