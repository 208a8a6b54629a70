#include "cachemgr/cache/sources.h"

#include <utility>

#include <nlohmann/json.hpp>

namespace floe::cachemgr {

using Json = nlohmann::json;

std::string EncodeSources(const std::vector<Source>& sources) {
  Json array = Json::array();
  for (const Source& source : sources) {
    array.push_back({{"registry", source.repository.registry},
                     {"repository", source.repository.path},
                     {"plain_http", source.plain_http}});
  }
  return Json{{"version", 1}, {"sources", std::move(array)}}.dump(2, ' ', true,
                                                                  Json::error_handler_t::replace);
}

Result<std::vector<Source>> DecodeSources(const std::string& json) {
  const Json document = Json::parse(json, nullptr, /*allow_exceptions=*/false);
  if (!document.is_object() || document.value("version", Json()) != 1 ||
      !document.value("sources", Json()).is_array()) {
    return DataLoss("not a list of sources");
  }
  std::vector<Source> sources;
  for (const Json& entry : document["sources"]) {
    const Json registry = entry.is_object() ? entry.value("registry", Json()) : Json();
    const Json path = entry.is_object() ? entry.value("repository", Json()) : Json();
    const Json plain = entry.is_object() ? entry.value("plain_http", Json()) : Json();
    if (!registry.is_string() || !path.is_string() || !plain.is_boolean()) {
      return DataLoss("not a source: entry {}", sources.size());
    }
    sources.push_back(
        {.repository = {.registry = registry.get<std::string>(), .path = path.get<std::string>()},
         .plain_http = plain.get<bool>()});
  }
  return sources;
}

Result<fetcher::RegistryClient*> RegistryClients::For(const Source& source) {
  const std::string name = source.plain_http ? source.repository.registry : "";
  const MutexLock lock(mutex_);
  auto found = clients_.find(name);
  if (found == clients_.end()) {
    FLOE_ASSIGN_OR_RETURN(auto client, factory_(name));
    found = clients_.emplace(name, std::move(client)).first;
  }
  return found->second.get();
}

uint64_t RegistryClients::Requests() const {
  const MutexLock lock(mutex_);
  uint64_t requests = 0;
  for (const auto& [name, client] : clients_) {
    requests += client->counters().requests;
  }
  return requests;
}

}  // namespace floe::cachemgr
