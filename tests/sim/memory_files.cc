#include "tests/sim/memory_files.h"

#include <sqlite3.h>

#include <algorithm>
#include <cstring>
#include <new>
#include <string_view>

namespace imapmesh::sim {
namespace {

constexpr std::string_view kJournal = "-journal";

// Of each database, with its journal: rises when its open files are cut off.
uint64_t& Generation(std::string_view file) {
  static auto* generations = new std::map<std::string, uint64_t, std::less<>>;
  if (file.ends_with(kJournal)) file.remove_suffix(kJournal.size());
  return generations->try_emplace(std::string(file), 0).first->second;
}

struct MemoryFile {
  sqlite3_file base;
  std::string* name;
  const uint64_t* generation;
  uint64_t opened_in;
  bool delete_on_close;
};

std::string& Bytes(MemoryFile* file) {
  return MemoryFiles()[*file->name];
}
MemoryFile* Get(sqlite3_file* file) {
  return reinterpret_cast<MemoryFile*>(file);
}
bool CutOff(MemoryFile* file) {
  return file->opened_in != *file->generation;
}

int Close(sqlite3_file* base) {
  MemoryFile* file = Get(base);
  if (file->delete_on_close && !CutOff(file)) MemoryFiles().erase(*file->name);
  delete file->name;
  return SQLITE_OK;
}

int Read(sqlite3_file* base, void* into, int amount, sqlite3_int64 offset) {
  const std::string& bytes = Bytes(Get(base));
  const auto size = static_cast<sqlite3_int64>(bytes.size());
  const sqlite3_int64 there = std::clamp<sqlite3_int64>(size - offset, 0, amount);
  if (there > 0) std::memcpy(into, bytes.data() + offset, static_cast<size_t>(there));
  if (there == amount) return SQLITE_OK;
  std::memset(static_cast<char*>(into) + there, 0, static_cast<size_t>(amount - there));
  return SQLITE_IOERR_SHORT_READ;
}

int Write(sqlite3_file* base, const void* from, int amount, sqlite3_int64 offset) {
  if (CutOff(Get(base))) return SQLITE_IOERR_WRITE;
  std::string& bytes = Bytes(Get(base));
  const auto end = static_cast<size_t>(offset + amount);
  if (bytes.size() < end) bytes.resize(end);
  std::memcpy(bytes.data() + offset, from, static_cast<size_t>(amount));
  return SQLITE_OK;
}

int Truncate(sqlite3_file* base, sqlite3_int64 size) {
  if (CutOff(Get(base))) return SQLITE_IOERR_TRUNCATE;
  Bytes(Get(base)).resize(static_cast<size_t>(size));
  return SQLITE_OK;
}

int Sync(sqlite3_file* base, int) {
  return CutOff(Get(base)) ? SQLITE_IOERR_FSYNC : SQLITE_OK;
}

int FileSize(sqlite3_file* base, sqlite3_int64* size) {
  *size = static_cast<sqlite3_int64>(Bytes(Get(base)).size());
  return SQLITE_OK;
}

int Lock(sqlite3_file*, int) {
  return SQLITE_OK;
}
int CheckReservedLock(sqlite3_file*, int* held) {
  *held = 0;
  return SQLITE_OK;
}
int FileControl(sqlite3_file*, int, void*) {
  return SQLITE_NOTFOUND;
}
int SectorSize(sqlite3_file*) {
  return 512;
}
int DeviceCharacteristics(sqlite3_file*) {
  return SQLITE_IOCAP_ATOMIC | SQLITE_IOCAP_SEQUENTIAL;
}

const sqlite3_io_methods kMethods = {1,
                                     Close,
                                     Read,
                                     Write,
                                     Truncate,
                                     Sync,
                                     FileSize,
                                     Lock,
                                     Lock,
                                     CheckReservedLock,
                                     FileControl,
                                     SectorSize,
                                     DeviceCharacteristics,
                                     nullptr,
                                     nullptr,
                                     nullptr,
                                     nullptr,
                                     nullptr,
                                     nullptr};

int Open(sqlite3_vfs*, const char* name, sqlite3_file* base, int flags, int* out_flags) {
  static uint64_t unnamed = 0;
  MemoryFile* file = Get(base);
  file->base.pMethods = &kMethods;
  file->name = new std::string(name != nullptr ? name : "unnamed" + std::to_string(++unnamed));
  file->generation = &Generation(*file->name);
  file->opened_in = *file->generation;
  file->delete_on_close = (flags & SQLITE_OPEN_DELETEONCLOSE) != 0;
  MemoryFiles().try_emplace(*file->name);
  if (out_flags != nullptr) *out_flags = flags;
  return SQLITE_OK;
}

// The journal of a process that is cut off must stay for the next one to roll back: nobody may delete it for the dead.
int Delete(sqlite3_vfs*, const char* name, int) {
  MemoryFiles().erase(name);
  return SQLITE_OK;
}

int Access(sqlite3_vfs*, const char* name, int, int* there) {
  *there = MemoryFiles().contains(name) ? 1 : 0;
  return SQLITE_OK;
}

int FullPathname(sqlite3_vfs*, const char* name, int size, char* out) {
  std::strncpy(out, name, static_cast<size_t>(size));
  return SQLITE_OK;
}

int Randomness(sqlite3_vfs*, int size, char* out) {
  for (int i = 0; i < size; ++i) out[i] = static_cast<char>(i * 37 + 11);
  return size;
}
int Sleep(sqlite3_vfs*, int microseconds) {
  return microseconds;
}
int CurrentTime(sqlite3_vfs*, double* days) {
  *days = 2460000.5;
  return SQLITE_OK;
}
int GetLastError(sqlite3_vfs*, int, char*) {
  return 0;
}

}  // namespace

std::map<std::string, std::string>& MemoryFiles() {
  static auto* files = new std::map<std::string, std::string>;
  return *files;
}

void InstallMemoryFiles() {
  // One thread, and nobody asks how much memory SQLite holds: both cost on every call.
  sqlite3_config(SQLITE_CONFIG_SINGLETHREAD);
  sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0);
  static sqlite3_vfs vfs = [] {
    sqlite3_vfs made{};
    made.iVersion = 1;
    made.szOsFile = sizeof(MemoryFile);
    made.mxPathname = 200;
    made.zName = "imapmesh-memory";
    made.xOpen = Open;
    made.xDelete = Delete;
    made.xAccess = Access;
    made.xFullPathname = FullPathname;
    made.xRandomness = Randomness;
    made.xSleep = Sleep;
    made.xCurrentTime = CurrentTime;
    made.xGetLastError = GetLastError;
    return made;
  }();
  sqlite3_vfs_register(&vfs, 1);
}

void CutOffOpenFiles(const std::string& name) {
  ++Generation(name);
}

FilesImage CopyDatabase(const std::string& name) {
  FilesImage image;
  for (const std::string& file : {name, name + std::string(kJournal)}) {
    const auto found = MemoryFiles().find(file);
    if (found != MemoryFiles().end()) image[file] = found->second;
  }
  return image;
}

void RestoreDatabase(const std::string& name, const FilesImage& image) {
  for (const std::string& file : {name, name + std::string(kJournal)}) MemoryFiles().erase(file);
  for (const auto& [file, bytes] : image) MemoryFiles()[file] = bytes;
}

}  // namespace imapmesh::sim
