// Asio's compiled half (ASIO_SEPARATE_COMPILATION): one translation unit instead of a copy in each.
#include <asio/impl/src.hpp>
#include <asio/ssl/impl/src.hpp>
