// Streams the layers of an image through a cache manager (CacheManager.StreamLayer), all at once.
//   stream_layer SOCKET REGISTRY REPOSITORY < LAYERS      lines "layer DIGEST SIZE DIFFID ..."
// Prints a line for each: digest, bytes of the tree, bytes of the windows, device key.
#include <cstdio>
#include <iostream>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "base/check.h"
#include "client/cachemgr_client.h"

namespace floe {
namespace {

std::vector<client::StreamLayerCall> ReadCalls(const fetcher::Repository& repository) {
  std::vector<client::StreamLayerCall> calls;
  for (std::string line; std::getline(std::cin, line);) {
    std::istringstream words(line);
    std::string kind;
    std::string digest;
    std::string diff_id;
    uint64_t size_bytes = 0;
    if (words >> kind >> digest >> size_bytes >> diff_id && kind == "layer") {
      calls.push_back({.digest = Digest::Parse(digest).value(),
                       .size_bytes = size_bytes,
                       .media_type = "application/vnd.oci.image.layer.v1.tar+gzip",
                       .diff_id = Digest::Parse(diff_id).value(),
                       .sources = {repository},
                       .plain_http = true});
    }
  }
  return calls;
}

int Run(const std::string& socket, const fetcher::Repository& repository) {
  const auto client = client::CachemgrClient::Connect(socket);
  const auto calls = ReadCalls(repository);
  std::vector<Result<client::StreamedLayer>> layers(calls.size(), Unknown("not asked"));
  {
    std::vector<std::jthread> threads;
    for (size_t i = 0; i < calls.size(); ++i) {
      threads.emplace_back([&, i] { layers[i] = client->StreamLayer(calls[i], {}, nullptr); });
    }
  }
  int status = calls.empty() ? 1 : 0;
  for (size_t i = 0; i < calls.size(); ++i) {
    if (layers[i].has_value()) {
      std::printf("%s %zu %zu %s\n", calls[i].digest.ToString().c_str(), layers[i]->tree.size(),
                  layers[i]->windows.size(), layers[i]->device_key.c_str());
    } else {
      std::fprintf(stderr, "%s\n", layers[i].error().ToString().c_str());
      status = 1;
    }
  }
  return status;
}

}  // namespace
}  // namespace floe

int main(int argc, char** argv) {
  if (argc != 4) {
    std::fprintf(stderr, "usage: stream_layer SOCKET REGISTRY REPOSITORY < LAYERS\n");
    return 2;
  }
  return floe::Run(argv[1], {argv[2], argv[3]});
}
