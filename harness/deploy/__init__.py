"""A bundle running somewhere: started, asked, ended.

exchange      one agent process and its frames: a request, its reply; call, both clocks
session       the state of a deployment: its exchange, and what is known of its artifact
loading, inference, timing   the steps: each a function of a session
deployment    Deployment: what a run asks of it, by these steps
deployer      Deployer: brings a cell's bundle to its device and starts it, again where it died
explaining    what is added to the errors of a cell; refusals, what to do where a runtime refuses an artifact
messages      what a cell's processes wrote to stderr, in few lines
plausibility  whether what a device reports can be true; paced_plausibility, of a loop on a sensor's clock
page_cache    drops what a start reads from the device's page cache
memory_cap    runs a process under a limit, in a memory cgroup
sides         which side answered, of a cell with a fallback; failed_calls, calls that nobody answered
credentials   what the process signs its calls with
endpoint_look what a device sees of an endpoint, for `hilgate doctor`
handed        programs of ours that are handed to the device's Python
feed          where the inputs of a timed loop come from
content       what is timed: noise over the declared range, and the file's own samples
"""
