"""A bundle running somewhere: started, asked, ended.

exchange    one agent process and its frames: a request, its reply, both clocks
deployment  what a run asks of it
plausibility  whether what it reports can be true
deployer    brings a cell's bundle to its device, and starts it, again where it died
feed        where the inputs of a timed loop come from
content     what is timed: noise over the declared range, and the file's own samples
refusals    what a runtime refuses, in words that help
"""
