# The helpers every module uses: floe_library, floe_program, floe_test, floe_bench, floe_fuzz, floe_proto,
# floe_flatbuffers.
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin)

add_library(floe_options INTERFACE)
target_compile_features(floe_options INTERFACE cxx_std_20)
target_include_directories(floe_options INTERFACE ${PROJECT_SOURCE_DIR})
target_compile_options(floe_options INTERFACE
  -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wnon-virtual-dtor -Wold-style-cast
  $<$<BOOL:${FLOE_WERROR}>:-Werror>
  $<$<CXX_COMPILER_ID:Clang>:-Wthread-safety>)
if(FLOE_SANITIZE)
  target_compile_options(floe_options INTERFACE -fsanitize=${FLOE_SANITIZE} -fno-omit-frame-pointer
    -fno-sanitize-recover=all)
  target_link_options(floe_options INTERFACE -fsanitize=${FLOE_SANITIZE})
endif()

# floe_library(NAME SRCS a.cc... DEPS lib...): a static library with the alias floe::NAME.
function(floe_library NAME)
  cmake_parse_arguments(ARG "" "" "SRCS;DEPS" ${ARGN})
  add_library(floe_${NAME} STATIC ${ARG_SRCS})
  add_library(floe::${NAME} ALIAS floe_${NAME})
  target_link_libraries(floe_${NAME} PUBLIC floe_options ${ARG_DEPS})
endfunction()

# floe_program(NAME SRCS a.cc... DEPS lib...): a program in build/<preset>/bin.
function(floe_program NAME)
  cmake_parse_arguments(ARG "" "" "SRCS;DEPS" ${ARGN})
  add_executable(${NAME} ${ARG_SRCS})
  target_link_libraries(${NAME} PRIVATE floe_options ${ARG_DEPS})
  install(TARGETS ${NAME} RUNTIME DESTINATION bin)
endfunction()

# floe_test(NAME SRCS a_test.cc... DEPS lib...): a GoogleTest program, one CTest case, label "unit".
function(floe_test NAME)
  if(NOT FLOE_BUILD_TESTS)
    return()
  endif()
  cmake_parse_arguments(ARG "" "" "SRCS;DEPS" ${ARGN})
  add_executable(${NAME} ${ARG_SRCS})
  target_link_libraries(${NAME} PRIVATE floe_options ${ARG_DEPS} GTest::gmock GTest::gtest_main)
  set_target_properties(${NAME} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
  target_compile_definitions(${NAME} PRIVATE FLOE_SOURCE_DIR="${PROJECT_SOURCE_DIR}")
  add_test(NAME ${NAME} COMMAND ${NAME})
  set_tests_properties(${NAME} PROPERTIES LABELS unit TIMEOUT 300)
endfunction()

function(floe_bench NAME)
  if(NOT FLOE_BUILD_BENCH)
    return()
  endif()
  cmake_parse_arguments(ARG "" "" "SRCS;DEPS" ${ARGN})
  add_executable(${NAME} ${ARG_SRCS})
  target_link_libraries(${NAME} PRIVATE floe_options ${ARG_DEPS} benchmark::benchmark benchmark::benchmark_main)
  set_target_properties(${NAME} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bench)
endfunction()

# floe_fuzz(NAME SRCS a.cc... DEPS lib...): a libFuzzer target; needs clang and FLOE_BUILD_FUZZ.
function(floe_fuzz NAME)
  if(NOT FLOE_BUILD_FUZZ)
    return()
  endif()
  cmake_parse_arguments(ARG "" "" "SRCS;DEPS" ${ARGN})
  add_executable(${NAME} ${ARG_SRCS})
  target_link_libraries(${NAME} PRIVATE floe_options ${ARG_DEPS})
  target_link_options(${NAME} PRIVATE -fsanitize=fuzzer)
  set_target_properties(${NAME} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/fuzz)
endfunction()

# floe_proto(NAME PROTOS a.proto... [GRPC]): generated code in a target of its own, included as <path>.pb.h.
function(floe_proto NAME)
  cmake_parse_arguments(ARG "GRPC" "" "PROTOS" ${ARGN})
  set(gen_dir ${CMAKE_BINARY_DIR}/gen)
  file(MAKE_DIRECTORY ${gen_dir})
  set(sources)
  foreach(proto IN LISTS ARG_PROTOS)
    string(REGEX REPLACE "\\.proto$" "" stem ${proto})
    set(outputs ${gen_dir}/${stem}.pb.cc ${gen_dir}/${stem}.pb.h)
    set(command protobuf::protoc --proto_path=${PROJECT_SOURCE_DIR}/proto --cpp_out=${gen_dir})
    if(ARG_GRPC)
      list(APPEND outputs ${gen_dir}/${stem}.grpc.pb.cc ${gen_dir}/${stem}.grpc.pb.h)
      list(APPEND command --grpc_out=${gen_dir} --plugin=protoc-gen-grpc=${FLOE_GRPC_CPP_PLUGIN})
    endif()
    add_custom_command(OUTPUT ${outputs}
      COMMAND ${command} ${PROJECT_SOURCE_DIR}/proto/${proto}
      DEPENDS ${PROJECT_SOURCE_DIR}/proto/${proto} VERBATIM)
    list(APPEND sources ${outputs})
  endforeach()
  add_library(floe_${NAME} STATIC ${sources})
  add_library(floe::${NAME} ALIAS floe_${NAME})
  target_compile_features(floe_${NAME} PUBLIC cxx_std_20)
  target_include_directories(floe_${NAME} SYSTEM PUBLIC ${gen_dir})
  target_link_libraries(floe_${NAME} PUBLIC protobuf::libprotobuf)
  if(ARG_GRPC)
    target_link_libraries(floe_${NAME} PUBLIC gRPC::grpc++)
  endif()
  if(FLOE_SANITIZE)
    target_compile_options(floe_${NAME} PRIVATE -fsanitize=${FLOE_SANITIZE})
    target_link_options(floe_${NAME} PUBLIC -fsanitize=${FLOE_SANITIZE})
  endif()
endfunction()

# floe_flatbuffers(NAME SCHEMAS a.fbs...): generated headers in a target of their own, included as <path>_generated.h.
# The object API is for tests, which build what other programs write.
function(floe_flatbuffers NAME)
  cmake_parse_arguments(ARG "" "" "SCHEMAS" ${ARGN})
  set(gen_dir ${CMAKE_BINARY_DIR}/gen)
  set(headers)
  foreach(schema IN LISTS ARG_SCHEMAS)
    cmake_path(GET schema PARENT_PATH folder)
    cmake_path(GET schema STEM stem)
    set(header ${gen_dir}/${folder}/${stem}_generated.h)
    add_custom_command(OUTPUT ${header}
      COMMAND flatbuffers::flatc --cpp --gen-object-api -o ${gen_dir}/${folder} ${PROJECT_SOURCE_DIR}/proto/${schema}
      DEPENDS ${PROJECT_SOURCE_DIR}/proto/${schema} VERBATIM)
    list(APPEND headers ${header})
  endforeach()
  add_custom_target(floe_${NAME}_headers DEPENDS ${headers})
  add_library(floe_${NAME} INTERFACE)
  add_library(floe::${NAME} ALIAS floe_${NAME})
  add_dependencies(floe_${NAME} floe_${NAME}_headers)
  target_include_directories(floe_${NAME} SYSTEM INTERFACE ${gen_dir})
  target_link_libraries(floe_${NAME} INTERFACE flatbuffers::flatbuffers)
endfunction()
