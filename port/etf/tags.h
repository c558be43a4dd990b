#pragma once

#include <cstdint>

namespace erlang_python::etf {

/// The tags of the external term format (erts/doc "External Term Format") that OTP 25 and later write.
inline constexpr std::uint8_t kVersion = 131;
inline constexpr std::uint8_t kNewFloat = 70;
inline constexpr std::uint8_t kBitBinary = 77;
inline constexpr std::uint8_t kNewPid = 88;
inline constexpr std::uint8_t kNewPort = 89;
inline constexpr std::uint8_t kNewerReference = 90;
inline constexpr std::uint8_t kSmallInteger = 97;
inline constexpr std::uint8_t kInteger = 98;
inline constexpr std::uint8_t kLatin1Atom = 100;
inline constexpr std::uint8_t kReference = 101;
inline constexpr std::uint8_t kPort = 102;
inline constexpr std::uint8_t kPid = 103;
inline constexpr std::uint8_t kSmallTuple = 104;
inline constexpr std::uint8_t kLargeTuple = 105;
inline constexpr std::uint8_t kNil = 106;
inline constexpr std::uint8_t kString = 107;
inline constexpr std::uint8_t kList = 108;
inline constexpr std::uint8_t kBinary = 109;
inline constexpr std::uint8_t kSmallBig = 110;
inline constexpr std::uint8_t kLargeBig = 111;
inline constexpr std::uint8_t kNewFun = 112;
inline constexpr std::uint8_t kExport = 113;
inline constexpr std::uint8_t kNewReference = 114;
inline constexpr std::uint8_t kSmallLatin1Atom = 115;
inline constexpr std::uint8_t kMap = 116;
inline constexpr std::uint8_t kUtf8Atom = 118;
inline constexpr std::uint8_t kSmallUtf8Atom = 119;
inline constexpr std::uint8_t kV4Port = 120;

}  // namespace erlang_python::etf
