// swift-tools-version:5.9
import PackageDescription

// NextOmniFlow is plain Swift and builds on any system; NextOmniCoreML runs the packages and needs iOS 18 or macOS 15.
let package = Package(
    name: "NextOmni",
    platforms: [.iOS(.v17), .macOS(.v14)],  // the tools of 5.9 know no later ones; CoreMLComponents asks for iOS 18 and macOS 15
    products: [
        .library(name: "NextOmniFlow", targets: ["NextOmniFlow"]),
        .library(name: "NextOmniCoreML", targets: ["NextOmniCoreML"]),
    ],
    targets: [
        .target(name: "NextOmniFlow"),
        .target(name: "NextOmniCoreML", dependencies: ["NextOmniFlow"], resources: [.copy("Model")]),
        .testTarget(name: "NextOmniFlowTests", dependencies: ["NextOmniFlow"], resources: [.copy("Vectors")]),
        .testTarget(name: "NextOmniCoreMLTests", dependencies: ["NextOmniCoreML"]),
    ]
)
