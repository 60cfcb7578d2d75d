"""Servers of the Open Inference Protocol that are not ours: Triton, KServe and MLServer, each as others get it.

installing   their packages, in the user's cache, never beside hilgate
serving      one of them as a process, with the digits example as two models: "digits", and "wrong", whose scores have
             the other sign

Their programs and models (kserve_server, triton_model, mlserver_model) run in their own processes; numpy and ONNX
Runtime are those of the tests' environment.
"""
