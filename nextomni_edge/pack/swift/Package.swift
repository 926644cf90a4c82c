// swift-tools-version:6.0
import PackageDescription

// NextOmniFlow is plain Swift and builds on any system, in strict concurrency; NextOmniCoreML runs the packages. Apple's classes of
// Core ML are not checked here, so its targets stay in the language mode 5.
let package = Package(
    name: "NextOmni",
    platforms: [.iOS(.v18), .macOS(.v15)],
    products: [
        .library(name: "NextOmniFlow", targets: ["NextOmniFlow"]),
        .library(name: "NextOmniCoreML", targets: ["NextOmniCoreML"]),
    ],
    targets: [
        .target(name: "NextOmniFlow"),
        .target(
            name: "NextOmniCoreML", dependencies: ["NextOmniFlow"], resources: [.copy("Model")],
            swiftSettings: [.swiftLanguageMode(.v5)]),
        .executableTarget(name: "nextomni-replay", dependencies: ["NextOmniFlow"], path: "Sources/Replay"),
        .executableTarget(name: "nextomni-bench", dependencies: ["NextOmniFlow"], path: "Sources/Bench"),
        .testTarget(name: "NextOmniFlowTests", dependencies: ["NextOmniFlow"], resources: [.copy("Vectors")]),
        .testTarget(
            name: "NextOmniCoreMLTests", dependencies: ["NextOmniCoreML"], swiftSettings: [.swiftLanguageMode(.v5)]),
    ]
)
