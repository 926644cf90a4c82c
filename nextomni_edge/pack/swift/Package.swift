// swift-tools-version:6.0
import PackageDescription

// NextOmniFlow is plain Swift and builds on any system, in strict concurrency; NextOmniCoreML runs the packages. Apple's classes of
// Core ML are not checked here, so its targets stay in the language mode 5.
let package = Package(
    name: "NextOmni",
    platforms: [.iOS("18.0"), .macOS("15.0")],
    products: [
        .library(name: "NextOmniFlow", targets: ["NextOmniFlow"]),
        .library(name: "NextOmniCoreML", targets: ["NextOmniCoreML"]),
        .library(name: "NextOmniViews", targets: ["NextOmniViews"]),
    ],
    targets: [
        .target(name: "NextOmniFlow"),
        .target(name: "NextOmniPipe", dependencies: ["NextOmniFlow"]),
        .target(
            name: "NextOmniCoreML", dependencies: ["NextOmniFlow"], resources: [.copy("Model")],
            swiftSettings: [.swiftLanguageMode(.v5)]),
        .target(name: "NextOmniViews", dependencies: ["NextOmniFlow", "NextOmniCoreML"], swiftSettings: [.swiftLanguageMode(.v5)]),
        .executableTarget(
            name: "nextomni-sample", dependencies: ["NextOmniFlow", "NextOmniPipe", "NextOmniCoreML"], path: "Sources/Sample"),
        .executableTarget(name: "nextomni-replay", dependencies: ["NextOmniFlow", "NextOmniPipe"], path: "Sources/Replay"),
        .executableTarget(name: "nextomni-bench", dependencies: ["NextOmniFlow"], path: "Sources/Bench"),
        .testTarget(name: "NextOmniFlowTests", dependencies: ["NextOmniFlow"], resources: [.copy("Vectors")]),
        .testTarget(
            name: "NextOmniCoreMLTests", dependencies: ["NextOmniCoreML"], swiftSettings: [.swiftLanguageMode(.v5)]),
    ]
)
