"""A libFuzzer target: NAME.cc, linked with the fuzzer's own main. Only for --config=fuzz, so never by a wildcard."""

def fuzzer(name, deps):
    native.cc_binary(
        name = name,
        testonly = True,
        srcs = [name + ".cc"],
        linkopts = ["-fsanitize=fuzzer"],
        tags = ["manual"],
        deps = deps,
    )
