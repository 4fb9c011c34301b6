// measure OUT COMMAND [ARGUMENT...]: runs a command and writes what it cost to OUT, as one line of JSON.
//
// wall_s, user_s and sys_s in seconds, memory_kb as the most resident memory that the command or one of its children
// held, code its exit code (128 + signal when one ended it). A program of its own because Linux passes what a process
// held on to what it starts: started from Python, a small command would be charged with Python's memory.
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>

namespace {

double Seconds(const timeval& time) {
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3) {
    std::fprintf(stderr, "usage: %s OUT COMMAND [ARGUMENT...]\n", argv[0]);
    return 2;
  }
  const auto started = std::chrono::steady_clock::now();
  const pid_t child = fork();
  if (child == 0) {
    execvp(argv[2], argv + 2);
    std::perror(argv[2]);
    _exit(127);
  }
  int status = 0;
  rusage usage{};
  if (child < 0 || wait4(child, &status, 0, &usage) != child) {
    std::perror("measure");
    return 2;
  }
  const std::chrono::duration<double> wall = std::chrono::steady_clock::now() - started;
  const int code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  std::FILE* out = std::fopen(argv[1], "w");
  if (out == nullptr) {
    std::perror(argv[1]);
    return 2;
  }
  std::fprintf(out, "{\"wall_s\": %.6f, \"user_s\": %.6f, \"sys_s\": %.6f, \"memory_kb\": %ld, \"code\": %d}\n",
               wall.count(), Seconds(usage.ru_utime), Seconds(usage.ru_stime), usage.ru_maxrss, code);
  std::fclose(out);
  return code;
}
