"""cc_proto(name, src, grpc): a cc_library of what Debian's protoc (and grpc_cpp_plugin) make of one .proto file."""

def cc_proto(name, src, grpc = False, deps = [], protos = [], visibility = None):
    """Generates and compiles one .proto file.

    Args:
      name: of the cc_library.
      src: the .proto file of this package.
      grpc: also generate the gRPC service.
      deps: cc_proto libraries of imported files.
      protos: labels of the imported .proto files.
      visibility: of the library.
    """
    base = src[:-len(".proto")]
    sources = [base + ".pb.cc"]
    headers = [base + ".pb.h"]
    command = "protoc -I. --cpp_out=$(GENDIR) $(location %s)" % src
    if grpc:
        sources.append(base + ".grpc.pb.cc")
        headers.append(base + ".grpc.pb.h")
        command = ("protoc -I. --cpp_out=$(GENDIR) --grpc_out=$(GENDIR) " +
                   "--plugin=protoc-gen-grpc=/usr/bin/grpc_cpp_plugin $(location %s)" % src)
    native.genrule(
        name = name + "_generated",
        srcs = [src] + protos,
        outs = sources + headers,
        cmd = command,
    )
    native.cc_library(
        name = name,
        srcs = sources,
        hdrs = headers,
        copts = ["-w"],
        visibility = visibility,
        deps = deps + (["//third_party/system:grpc"] if grpc else ["//third_party/system:protobuf"]),
    )
